//! `pipeline`: the name that everything of a pipeline is kept under.

use crate::config::names::PipelineName;
use crate::config::reader::{Report, Section};

pub(super) const PIPELINE: &str = "pipeline";

const HELP: &str = "a name of 1 to 63 letters, digits, dots, dashes and underscores that begins with \
    a letter or digit, such as orders; it is the ledger's key, so keep it";

pub(super) fn read(root: &mut Section, report: &mut Report) -> Option<PipelineName> {
    let field = root.require(PIPELINE, HELP, report)?;
    let scalar = field.scalar("a name", report)?;
    let name = PipelineName::parse(&scalar.text);
    if name.is_none() {
        report.add(&field, format!("{} isn't a pipeline's name", scalar.shown()), HELP);
    }
    name
}
