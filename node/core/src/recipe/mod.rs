//! What a person asks for.

mod node_type;

pub use node_type::NodeType;
