//! `artdag run RECIPE -i name=PATH|CID [-p name=value] [--seed N] [--follow]`.
//!
//! A value of `-i` that names an existing file is that file, which is added first, even if it
//! reads as a CID too (then a note says so; `/ipfs/CID` always means the CID). A value of `-p` is
//! JSON if it parses as JSON, else text: `-p warmth=1.2` is a number, `-p mode=dark` a string.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use artdag_client::{AddOptions, Cid, Client, Folders, Submission, parse_cid};
use serde_json::Value;
use tokio::io::AsyncReadExt;

use super::{
    Session,
    add::{add, eprintln_quietly},
    follow::follow,
};

/// A recipe is at most 1 MiB; reading one byte more shows that a file is not one.
const READ_LIMIT: u64 = 1024 * 1024 + 1;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The recipe: YAML or JSON
    recipe: PathBuf,
    /// An input: a file, which is added first, or a CID
    #[arg(short, long = "input", value_name = "NAME=PATH|CID", value_parser = assignment)]
    input: Vec<Assignment>,
    /// A parameter: JSON, or else text
    #[arg(short, long = "parameter", value_name = "NAME=VALUE", value_parser = assignment)]
    parameter: Vec<Assignment>,
    /// Where randomness starts
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Show the steps as they happen and wait for the end
    #[arg(short, long)]
    follow: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Assignment {
    name: String,
    value: String,
}

impl Args {
    pub async fn run(self, session: &Session) -> anyhow::Result<()> {
        let recipe = read(&self.recipe).await?;
        let mut parameters = BTreeMap::new();
        for Assignment { name, value } in self.parameter {
            if parameters.insert(name.clone(), parameter_value(&value)).is_some() {
                bail!("parameter {name} is given twice");
            }
        }
        let sources = sources(self.input)?;
        let client = session.client().await?;
        session.if_interrupted_say("interrupted: nothing was submitted");
        let mut inputs = BTreeMap::new();
        for (name, source) in sources {
            let cid = source.resolve(&client).await.with_context(|| format!("input {name}"))?;
            inputs.insert(name, cid);
        }
        let recipe_name = self.recipe.display().to_string();
        let submission = Submission { recipe, recipe_name, inputs, parameters, seed: self.seed };
        let submitted = client.submit_run(&submission).await?;
        if self.follow {
            return follow(session, &client, &submitted.execution_id).await;
        }
        session.output.show(&submitted, |submitted| submitted.execution_id.clone())
    }
}

#[derive(Debug, PartialEq)]
enum Source {
    File(PathBuf),
    Content(Cid),
}

impl Source {
    fn read(name: &str, value: &str) -> anyhow::Result<Self> {
        let (path, cid) = (Path::new(value), parse_cid(value));
        if path.is_dir() {
            bail!("input {name}: {value} is a folder; add it with artdag add -r and give its CID");
        }
        match (path.exists(), cid) {
            (true, cid) => {
                if cid.is_ok() {
                    eprintln_quietly(&format!(
                        "input {name}: {value} is a file here and is taken as one; \
                         write /ipfs/{value} for the CID"
                    ));
                }
                Ok(Self::File(path.to_owned()))
            }
            (false, Ok(cid)) => Ok(Self::Content(cid)),
            (false, Err(_)) => bail!("input {name}: {value} is neither a file here nor a CID"),
        }
    }

    async fn resolve(self, client: &Client) -> anyhow::Result<Cid> {
        match self {
            Self::Content(cid) => Ok(cid),
            Self::File(path) => {
                let options = AddOptions { folders: Folders::Refuse, ..AddOptions::default() };
                Ok(add(client, &path, &options, &mut |_| Ok(())).await?.cid)
            }
        }
    }
}

/// All are checked before the first is added.
fn sources(inputs: Vec<Assignment>) -> anyhow::Result<BTreeMap<String, Source>> {
    let mut sources = BTreeMap::new();
    for Assignment { name, value } in inputs {
        let source = Source::read(&name, &value)?;
        if sources.insert(name.clone(), source).is_some() {
            bail!("input {name} is given twice");
        }
    }
    Ok(sources)
}

fn assignment(text: &str) -> Result<Assignment, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok(Assignment { name: name.to_owned(), value: value.to_owned() })
        }
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

fn parameter_value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

async fn read(recipe: &Path) -> anyhow::Result<Vec<u8>> {
    let at = || format!("recipe {}", recipe.display());
    let file = tokio::fs::File::open(recipe).await.with_context(at)?;
    let mut text = Vec::new();
    file.take(READ_LIMIT).read_to_end(&mut text).await.with_context(at)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CID: &str = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";

    #[test]
    fn a_parameter_is_json_or_else_text() {
        assert_eq!(parameter_value("1.5"), serde_json::json!(1.5));
        assert_eq!(parameter_value("true"), serde_json::json!(true));
        assert_eq!(parameter_value("\"1\""), serde_json::json!("1"));
        assert_eq!(parameter_value("[1,2]"), serde_json::json!([1, 2]));
        assert_eq!(parameter_value("dark blue"), serde_json::json!("dark blue"));
    }

    #[test]
    fn an_assignment_may_hold_further_signs_of_equality() {
        let parsed = assignment("a=b=c").expect("parses");
        assert_eq!(parsed, Assignment { name: "a".to_owned(), value: "b=c".to_owned() });
    }

    #[test]
    fn an_input_is_a_file_here_or_else_a_cid() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let file = scratch.path().join(CID);
        std::fs::write(&file, "x").expect("written");
        let named = file.to_str().expect("UTF-8");
        assert_eq!(Source::read("clip", named).expect("a file"), Source::File(file.clone()));
        for text in [CID.to_owned(), format!("/ipfs/{CID}")] {
            let content = Source::read("clip", &text).expect("a CID");
            assert_eq!(content, Source::Content(parse_cid(CID).expect("valid")));
        }
        let folder = scratch.path().to_str().expect("UTF-8");
        assert!(Source::read("clip", folder).expect_err("a folder").to_string().contains("-r"));
        let nothing = Source::read("clip", "missing.mp4").expect_err("nothing").to_string();
        assert_eq!(nothing, "input clip: missing.mp4 is neither a file here nor a CID");
    }

    #[test]
    fn an_input_given_twice_is_refused() {
        let twice = vec![
            Assignment { name: "clip".to_owned(), value: CID.to_owned() },
            Assignment { name: "clip".to_owned(), value: CID.to_owned() },
        ];
        assert!(sources(twice).is_err());
    }
}
