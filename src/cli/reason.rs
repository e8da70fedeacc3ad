//! What every decision of people takes: why it is made, or that it is only to be shown.

/// Why a decision is made.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ReasonArgs {
    /// Why: it is kept with the decision, beside who and when
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run", value_parser = said)]
    pub(super) reason: Option<String>,
    /// Show what would follow, and change nothing; needs no reason
    #[arg(long)]
    pub(super) dry_run: bool,
}

impl ReasonArgs {
    /// Why; `None` where nothing is to be decided.
    pub(super) fn to_decide(&self) -> Option<&str> {
        self.reason.as_deref().filter(|_| !self.dry_run)
    }
}

/// A reason that says something.
fn said(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("it says nothing".to_owned()),
        text => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_says_something() {
        assert_eq!(said(" why \n"), Ok("why".to_owned()));
        assert!(said(" \t").is_err());
    }
}
