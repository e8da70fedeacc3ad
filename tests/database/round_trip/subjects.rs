//! The types that are tried, and how their values are made.

use fastrand::Rng;

use super::{literals, times};

/// A value as a record says it.
pub(super) struct Given {
    /// The JSON literal in the record.
    pub(super) literal: String,
    /// What PostgreSQL's text input gets for the same value.
    pub(super) text: String,
}

/// A type and how its values are made.
pub(super) struct Subject {
    pub(super) sql: &'static str,
    pub(super) given: fn(&mut Rng) -> Given,
    /// Whether values in usual spellings are encoded without PostgreSQL's help.
    pub(super) native: bool,
}

/// What the types need that PostgreSQL doesn't bring.
pub(super) const TYPES: &str = "
    CREATE TYPE level AS ENUM ('low', 'mid dle', 'hÖch');
    CREATE DOMAIN price AS numeric(8,3);
    CREATE DOMAIN scores AS int[];
";

fn text(value: String) -> Given {
    Given { literal: serde_json::to_string(&value).expect("text is JSON"), text: value }
}

fn plain(literal: String) -> Given {
    Given { text: literal.clone(), literal }
}

fn number(rng: &mut Rng) -> Given {
    if rng.bool() { text(literals::number(rng)) } else { plain(literals::json_number(rng)) }
}

/// A number for an integer type, which takes a whole number's literal in any spelling where PostgreSQL's text
/// input wants plain digits.
fn whole(rng: &mut Rng) -> Given {
    if rng.bool() {
        return text(literals::number(rng));
    }
    let literal = literals::json_number(rng);
    Given { text: literals::spelt_out(&literal), literal }
}

fn word(rng: &mut Rng) -> Given {
    match rng.u8(..8) {
        0 => plain(literals::json_number(rng)),
        1 => plain(literals::one(rng, &["true", "false"]).to_owned()),
        _ => text(literals::word(rng)),
    }
}

fn document(rng: &mut Rng) -> Given {
    plain(literals::document(rng, 0))
}

/// A JSON array and the same in PostgreSQL's text form.
fn array_of(rng: &mut Rng, element: fn(&mut Rng) -> Given) -> Given {
    fn level(rng: &mut Rng, shape: &[usize], element: fn(&mut Rng) -> Given, ragged: bool) -> Given {
        let Some((size, inner)) = shape.split_first() else {
            if rng.u8(..12) == 0 {
                return Given { literal: "null".to_owned(), text: "NULL".to_owned() };
            }
            let given = element(rng);
            let quoted = given.text.replace('\\', "\\\\").replace('"', "\\\"");
            return Given { literal: given.literal, text: format!("\"{quoted}\"") };
        };
        let size = if ragged && rng.u8(..3) == 0 { size + 1 } else { *size };
        let items: Vec<_> = (0..size).map(|_| level(rng, inner, element, ragged)).collect();
        let join = |pick: fn(&Given) -> &str| items.iter().map(pick).collect::<Vec<_>>().join(",");
        Given {
            literal: format!("[{}]", join(|given| &given.literal)),
            text: format!("{{{}}}", join(|given| &given.text)),
        }
    }
    if rng.u8(..30) == 0 {
        return Given { literal: "[]".to_owned(), text: "{}".to_owned() };
    }
    let levels = if rng.u8(..40) == 0 { 7 } else { rng.usize(1..4) };
    let shape: Vec<_> = (0..levels).map(|_| rng.usize(1..3)).collect();
    let ragged = rng.u8(..12) == 0;
    level(rng, &shape, element, ragged)
}

/// All types that are tried.
pub(super) fn subjects() -> Vec<Subject> {
    let subject = |sql, given| Subject { sql, given, native: true };
    let left = |sql, given| Subject { sql, given, native: false };
    vec![
        subject("boolean", |rng| {
            if rng.bool() {
                text(literals::boolean(rng))
            } else {
                plain(literals::one(rng, &["true", "false"]).to_owned())
            }
        }),
        subject("smallint", whole),
        subject("integer", whole),
        subject("bigint", whole),
        subject("real", number),
        subject("double precision", number),
        subject("numeric", number),
        subject("numeric(6,2)", number),
        subject("numeric(3,-2)", number),
        subject("numeric(3,5)", number),
        subject("numeric(1000,0)", number),
        subject("text", word),
        subject("varchar", word),
        subject("varchar(3)", word),
        subject("char(4)", word),
        subject("uuid", |rng| text(literals::uuid(rng))),
        subject("bytea", |rng| text(literals::bytea(rng))),
        subject("json", document),
        subject("jsonb", document),
        subject("date", |rng| text(if rng.bool() { times::date(rng) } else { times::instant(rng) })),
        subject("time", |rng| text(times::time_of_day(rng))),
        subject("time(2)", |rng| text(times::time_of_day(rng))),
        subject("timetz", |rng| text(times::time_of_day(rng))),
        subject("timestamp", |rng| text(times::instant(rng))),
        subject("timestamp(0)", |rng| text(times::instant(rng))),
        subject("timestamptz", |rng| text(times::instant(rng))),
        subject("timestamptz(3)", |rng| text(times::instant(rng))),
        subject("interval", |rng| text(times::interval(rng))),
        left("interval(2)", |rng| text(times::interval(rng))),
        subject("inet", |rng| text(literals::address(rng))),
        subject("cidr", |rng| text(literals::network(rng))),
        subject("level", |rng| {
            text(literals::one(rng, &["low", "mid dle", "hÖch", "Low", "newer", "", "unheard of"]).to_owned())
        }),
        subject("price", number),
        subject("integer[]", |rng| array_of(rng, whole)),
        subject("text[]", |rng| array_of(rng, word)),
        subject("numeric[]", |rng| array_of(rng, number)),
        subject("boolean[]", |rng| array_of(rng, |rng| text(literals::boolean(rng)))),
        subject("double precision[]", |rng| array_of(rng, number)),
        subject("varchar(3)[]", |rng| array_of(rng, word)),
        subject("numeric(6,2)[]", |rng| array_of(rng, number)),
        subject("price[]", |rng| array_of(rng, number)),
        subject("scores", |rng| array_of(rng, whole)),
        subject("inet[]", |rng| array_of(rng, |rng| text(literals::address(rng)))),
        subject("date[]", |rng| array_of(rng, |rng| text(times::date(rng)))),
        subject("jsonb[]", |rng| {
            let items: Vec<_> = (0..rng.usize(..4)).map(|_| literals::document(rng, 2)).collect();
            let quoted = |item: &String| format!("\"{}\"", item.replace('\\', "\\\\").replace('"', "\\\""));
            let texts: Vec<_> = items.iter().map(quoted).collect();
            Given { literal: format!("[{}]", items.join(",")), text: format!("{{{}}}", texts.join(",")) }
        }),
        subject("timestamptz[]", |rng| array_of(rng, |rng| text(times::instant(rng)))),
        subject("uuid[]", |rng| array_of(rng, |rng| text(literals::uuid(rng)))),
        subject("bytea[]", |rng| array_of(rng, |rng| text(literals::bytea(rng)))),
        subject("level[]", |rng| {
            array_of(rng, |rng| text(literals::one(rng, &["low", "mid dle", "hÖch", "newer"]).to_owned()))
        }),
        left("box[]", |rng| {
            let element = |rng: &mut Rng| text(format!("({},2),(3,4)", rng.u8(..9)));
            let given = array_of(rng, element);
            Given {
                text: given.text.replace("\",", "\";").replace("},", "};").replace("NULL,", "NULL;"),
                ..given
            }
        }),
        left("int4range", |rng| {
            text(literals::one(rng, &["[1,2)", "(,5]", "empty", "[5,1]", "x"]).to_owned())
        }),
        left("tstzrange", |rng| {
            text(
                literals::one(rng, &["[2024-01-01,2024-02-01)", "[now,)", "[n\"ow\",)", "[,\"\\today\"]"])
                    .to_owned(),
            )
        }),
        left("tstzmultirange", |rng| {
            text(
                literals::one(rng, &["{[2024-01-01,2024-02-01)}", "{}", "{[today,)}", "{[\"to\\day\",]}"])
                    .to_owned(),
            )
        }),
        left("macaddr", |rng| {
            text(literals::one(rng, &["08:00:2b:01:02:03", "08002b010203", "no"]).to_owned())
        }),
        left("oid", number),
        left("money", |rng| text(literals::one(rng, &["$1,000.50", "12", "-3.5", "19,90", "x"]).to_owned())),
    ]
}
