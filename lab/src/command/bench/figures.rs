//! What was measured: figures with all their turns, goals held against them, and the whole as JSON.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The version of the JSON form; a reader refuses others.
const FORMAT: u32 = 1;

/// A quantity that participants are measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    /// Its name in JSON, with its unit.
    pub(super) id: &'static str,
    /// Its name in tables.
    pub(super) title: &'static str,
    /// Decimals in tables.
    pub(super) decimals: u8,
}

const fn kind(id: &'static str, title: &'static str, decimals: u8) -> Kind {
    Kind { id, title, decimals }
}

/// Records of the topic ÷ the time from the process's start to its exit.
pub(super) const RATE: Kind = kind("records_per_second", "records/s, start to exit", 0);
/// The same between the first commit and the last.
pub(super) const BETWEEN: Kind =
    kind("records_per_second_between_commits", "records/s, first commit to last", 0);
/// Processor time of the participant itself ÷ records.
pub(super) const CPU: Kind = kind("cpu_us_per_record", "CPU µs/record", 2);
/// The same of the database's processes meanwhile.
pub(super) const DATABASE_CPU: Kind = kind("postgres_cpu_us_per_record", "PostgreSQL CPU µs/record", 2);
/// The same of the broker meanwhile.
pub(super) const BROKER_CPU: Kind = kind("kafka_cpu_us_per_record", "Kafka CPU µs/record", 2);
/// The most memory resident, over all its processes.
pub(super) const PEAK: Kind = kind("peak_mib", "peak MiB", 0);

/// One quantity of one participant over all turns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Figure {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) decimals: u8,
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    /// In the order of the turns.
    pub(super) turns: Vec<f64>,
}

/// Somebody who was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Participant {
    pub(super) name: String,
    pub(super) figures: Vec<Figure>,
    /// Why it was not measured at all: something that it needs can't be had here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) skipped: Option<String>,
    /// A crash or a wrong result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<String>,
}

/// A goal and what was reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Goal {
    /// What is compared.
    pub(super) what: String,
    /// Whether more is better.
    pub(super) at_least: bool,
    pub(super) goal: f64,
    /// A further aim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stretch: Option<f64>,
    /// Follows the number.
    pub(super) unit: String,
    /// The median, or the ratio of medians; none when a side was not measured.
    pub(super) reached: Option<f64>,
    /// The least of all turns.
    pub(super) min: Option<f64>,
    /// The most of all turns.
    pub(super) max: Option<f64>,
    pub(super) met: Option<bool>,
}

/// One case of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) about: String,
    /// What was worked on.
    pub(super) data: String,
    pub(super) participants: Vec<Participant>,
    pub(super) goals: Vec<Goal>,
    pub(super) notes: Vec<String>,
    /// Why the case could not be carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<String>,
    pub(super) seconds: f64,
}

/// A named fact about the machine or the settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Fact {
    pub(super) name: String,
    pub(super) value: String,
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Results {
    format: u32,
    pub(super) date: String,
    pub(super) command: String,
    pub(super) facts: Vec<Fact>,
    pub(super) cases: Vec<Case>,
}

/// The middle of the values (of an even number: between the two in the middle), the least and the most.
pub(super) fn spread(values: &[f64]) -> Option<(f64, f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    };
    Some((median, min, max))
}

impl Participant {
    pub(super) fn new(name: &str) -> Participant {
        Participant { name: name.to_owned(), figures: Vec::new(), skipped: None, failure: None }
    }

    /// Adds the figures of a turn.
    pub(super) fn add(&mut self, measured: &[(Kind, f64)]) {
        for (kind, value) in measured {
            let at = self.figures.iter().position(|figure| figure.id == kind.id).unwrap_or_else(|| {
                self.figures.push(Figure {
                    id: kind.id.to_owned(),
                    title: kind.title.to_owned(),
                    decimals: kind.decimals,
                    median: 0.0,
                    min: 0.0,
                    max: 0.0,
                    turns: Vec::new(),
                });
                self.figures.len() - 1
            });
            let figure = &mut self.figures[at];
            figure.turns.push(*value);
            if let Some((median, min, max)) = spread(&figure.turns) {
                (figure.median, figure.min, figure.max) = (median, min, max);
            }
        }
    }

    pub(super) fn figure(&self, kind: Kind) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.id == kind.id)
    }
}

impl Case {
    pub(super) fn new(name: &str, about: &str) -> Case {
        Case {
            name: name.to_owned(),
            about: about.to_owned(),
            data: String::new(),
            participants: Vec::new(),
            goals: Vec::new(),
            notes: Vec::new(),
            failure: None,
            seconds: 0.0,
        }
    }

    /// Whether something crashed or came out wrong.
    pub(super) fn is_wrong(&self) -> bool {
        self.failure.is_some() || self.participants.iter().any(|participant| participant.failure.is_some())
    }

    pub(super) fn figure(&self, participant: &str, kind: Kind) -> Option<&Figure> {
        self.participants.iter().find(|found| found.name == participant)?.figure(kind)
    }

    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// The first participant's median ÷ the second's; none when a side was not measured.
    pub(super) fn share(&self, one: (&str, Kind), other: (&str, Kind)) -> Option<f64> {
        Some(self.figure(one.0, one.1)?.median / self.figure(other.0, other.1)?.median)
    }

    /// Holds a ratio of medians against its goal: the first participant's figure ÷ the second's.
    pub(super) fn ratio(
        &mut self,
        what: &str,
        one: (&str, Kind),
        other: (&str, Kind),
        at_least: f64,
    ) -> &mut Goal {
        let sides = self.figure(one.0, one.1).zip(self.figure(other.0, other.1));
        let reached = sides.map(|(one, other)| {
            let turns: Vec<f64> =
                one.turns.iter().zip(&other.turns).map(|(one, other)| one / other).collect();
            let (_, min, max) = spread(&turns).unwrap_or_default();
            (one.median / other.median, min, max)
        });
        self.hold(what, true, at_least, "×", reached)
    }

    /// Holds a median against a bound that it must reach.
    pub(super) fn at_least(&mut self, what: &str, one: (&str, Kind), bound: f64, unit: &str) {
        let reached = self.figure(one.0, one.1).map(|figure| (figure.median, figure.min, figure.max));
        self.hold(what, true, bound, unit, reached);
    }

    /// Holds a median against a bound that it must not pass.
    pub(super) fn at_most(&mut self, what: &str, one: (&str, Kind), bound: f64, unit: &str) {
        let reached = self.figure(one.0, one.1).map(|figure| (figure.median, figure.min, figure.max));
        self.hold(what, false, bound, unit, reached);
    }

    fn hold(
        &mut self,
        what: &str,
        at_least: bool,
        goal: f64,
        unit: &str,
        reached: Option<(f64, f64, f64)>,
    ) -> &mut Goal {
        let met = reached.map(|(median, _, _)| if at_least { median >= goal } else { median <= goal });
        self.goals.push(Goal {
            what: what.to_owned(),
            at_least,
            goal,
            stretch: None,
            unit: unit.to_owned(),
            reached: reached.map(|(median, _, _)| median),
            min: reached.map(|(_, min, _)| min),
            max: reached.map(|(_, _, max)| max),
            met,
        });
        let last = self.goals.len() - 1;
        &mut self.goals[last]
    }
}

impl Results {
    pub(super) fn new(date: String, command: String, facts: Vec<Fact>) -> Results {
        Results { format: FORMAT, date, command, facts, cases: Vec::new() }
    }

    /// Several runs as one, on the facts of the last: cases in this order, of two runs of a case the later.
    pub(super) fn join(runs: Vec<Results>, order: &[&str]) -> Results {
        let mut runs = runs.into_iter();
        let mut all = runs.next().unwrap_or_else(|| Results::new(String::new(), String::new(), Vec::new()));
        for run in runs {
            all.cases.retain(|case| run.cases.iter().all(|later| later.name != case.name));
            all.cases.extend(run.cases);
            all.command = format!("{}; {}", all.command, run.command);
            (all.date, all.facts) = (run.date, run.facts);
        }
        all.cases.sort_by_key(|case| order.iter().position(|name| *name == case.name));
        all
    }

    pub(super) fn write(&self, file: &Path) -> Result<()> {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        }
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))
    }

    pub(super) fn read(file: &Path) -> Result<Results> {
        let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let results: Results = serde_json::from_str(&text)
            .with_context(|| format!("{} holds no results of a run", file.display()))?;
        if results.format != FORMAT {
            bail!("{} has format {}, this program reads {FORMAT}", file.display(), results.format);
        }
        Ok(results)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case() -> Case {
        let mut case = Case::new("one", "about");
        for (name, turns) in [("fast", [30.0, 10.0, 20.0]), ("slow", [10.0, 10.0, 5.0])] {
            let mut participant = Participant::new(name);
            for turn in turns {
                participant.add(&[(RATE, turn)]);
            }
            case.participants.push(participant);
        }
        case
    }

    #[test]
    fn the_median_is_the_middle_and_the_spread_its_ends() {
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[3.0]), Some((3.0, 3.0, 3.0)));
        assert_eq!(spread(&[3.0, 1.0]), Some((2.0, 1.0, 3.0)));
        assert_eq!(spread(&[9.0, 1.0, 4.0]), Some((4.0, 1.0, 9.0)));
    }

    #[test]
    fn a_ratio_is_of_medians_and_its_spread_of_turns() {
        let mut case = case();
        let goal = case.ratio("fast ÷ slow", ("fast", RATE), ("slow", RATE), 2.5).clone();
        assert_eq!(
            (goal.reached, goal.min, goal.max, goal.met),
            (Some(2.0), Some(1.0), Some(4.0), Some(false))
        );
        let goal = case.ratio("fast ÷ slow", ("fast", RATE), ("slow", RATE), 2.0).clone();
        assert_eq!(goal.met, Some(true));
        let goal = case.ratio("fast ÷ absent", ("fast", RATE), ("absent", RATE), 2.0).clone();
        assert_eq!((goal.reached, goal.met), (None, None));
    }

    #[test]
    fn a_bound_is_held_by_the_median() {
        let mut case = case();
        case.at_most("fast", ("fast", RATE), 20.0, "x");
        case.at_most("fast", ("fast", RATE), 19.0, "x");
        case.at_least("fast", ("fast", RATE), 20.0, "x");
        case.at_least("fast", ("fast", RATE), 21.0, "x");
        let met: Vec<_> = case.goals.iter().map(|goal| goal.met).collect();
        assert_eq!(met, [Some(true), Some(false), Some(true), Some(false)]);
    }

    #[test]
    fn of_two_runs_of_a_case_the_later_holds() {
        let run = |command: &str, names: &[&str]| {
            let mut results = Results::new(command.to_owned(), command.to_owned(), Vec::new());
            results.cases.extend(names.iter().map(|name| Case::new(name, command)));
            results
        };
        let all = Results::join(vec![run("one", &["b", "a"]), run("two", &["c", "b"])], &["a", "b", "c"]);
        let told: Vec<_> = all.cases.iter().map(|case| (case.name.as_str(), case.about.as_str())).collect();
        assert_eq!(told, [("a", "one"), ("b", "two"), ("c", "two")]);
        assert_eq!(all.command, "one; two");
    }

    #[test]
    fn results_are_read_as_they_were_written_and_another_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deeper/results.json");
        let mut results = Results::new("today".to_owned(), "bench".to_owned(), Vec::new());
        results.cases.push(case());
        results.write(&file).unwrap();
        assert_eq!(Results::read(&file).unwrap(), results);
        results.format = 9;
        results.write(&file).unwrap();
        assert!(Results::read(&file).unwrap_err().to_string().contains("format 9"));
    }
}
