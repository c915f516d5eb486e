//! The words a config may choose from, as types. Each list stands once: the schema and the typed
//! config are both made from it.

use serde::Deserialize;

macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $variant:ident = $word:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
        pub enum $name {
            $($(#[$word_doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// The words, as recipes write them.
            pub const WORDS: &[&str] = &[$($word,)*];

            /// The word, as recipes write it.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    )*};
}

choices! {
    /// How a picture is brought to a size of another shape.
    ResizeMode {
        /// The whole picture inside, the rest background.
        Fit = "fit",
        /// The whole area covered, what sticks out cut off.
        Fill = "fill",
        /// The shape is not kept.
        Stretch = "stretch",
        /// As `fit`, but a smaller picture is not enlarged.
        Pad = "pad",
    }
    /// How one clip goes over into the next.
    TransitionType {
        /// At once.
        Cut = "cut",
        /// Both at the same time.
        Crossfade = "crossfade",
        /// Through black.
        Fade = "fade",
    }
    /// Whose size a sequence takes.
    TargetSize {
        /// The first clip's.
        First = "first",
        /// The last clip's.
        Last = "last",
        /// That of the clip with the largest area.
        Largest = "largest",
        /// `width` and `height`.
        Explicit = "explicit",
    }
    /// How two pictures become one.
    BlendMode {
        /// See the W3C compositing terms; so for all of these.
        Multiply = "multiply",
        /// The inverse of multiplied inverses.
        Screen = "screen",
        /// Multiply where dark, screen where light.
        Overlay = "overlay",
        /// Sum, cut off at white.
        Add = "add",
        /// Difference, cut off at black.
        Subtract = "subtract",
        /// The mean.
        Average = "average",
        /// The absolute difference.
        Difference = "difference",
        /// The lighter of the two.
        Lighten = "lighten",
        /// The darker of the two.
        Darken = "darken",
    }
    /// The file a mux gives.
    Container {
        /// MPEG-4, ready to play while it loads.
        Mp4 = "mp4",
        /// Matroska.
        Mkv = "mkv",
    }
    /// What is generated.
    Pattern {
        /// A picture: a slow colour gradient.
        Gradient = "gradient",
        /// A picture: moving clouds of colour.
        Plasma = "plasma",
        /// Sound: a tone.
        Tone = "tone",
    }
}
