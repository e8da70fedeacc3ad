//! Which known name a wrong one was probably meant to be.

/// The known name that is spelt most like `wrong`, if one is near enough to be meant. Case and separators
/// don't count. Names of as many parts are compared part by part, so that a long part which is right makes
/// no other part near: at most a third of a part's letters differ, and one always may, but never all.
pub fn nearest<'n>(wrong: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let found = known.into_iter().filter_map(|name| Some((distance(wrong, name)?, name)));
    found.min().map(|(_, name)| name)
}

/// By how many letters two names differ; `None` where they are too far apart.
fn distance(wrong: &str, known: &str) -> Option<usize> {
    let (wrong, known) = (parts(wrong), parts(known));
    if wrong.len() == known.len() {
        return wrong.iter().zip(&known).map(|(wrong, known)| apart(wrong, known)).sum();
    }
    // A separator that is missing or too many counts as a letter.
    let more = wrong.len().abs_diff(known.len());
    let (wrong, known) = (wrong.concat(), known.concat());
    let distance = apart(&wrong, &known)? + more;
    (distance <= allowed(&wrong, &known)).then_some(distance)
}

fn parts(name: &str) -> Vec<String> {
    let separates = |c: char| matches!(c, '-' | '.' | '_' | ' ');
    name.to_lowercase().split(separates).map(str::to_owned).collect()
}

fn apart(wrong: &str, known: &str) -> Option<usize> {
    let distance = strsim::damerau_levenshtein(wrong, known);
    let near = distance <= allowed(wrong, known) && distance < longer(wrong, known).max(1);
    near.then_some(distance)
}

fn allowed(wrong: &str, known: &str) -> usize {
    (longer(wrong, known) / 3).max(1)
}

fn longer(wrong: &str, known: &str) -> usize {
    wrong.chars().count().max(known.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_only_when_it_is_near() {
        let known = [
            "events",
            "orders-eu",
            "Payments",
            "public.orders",
            "bootstrap.servers",
            "client.id",
            "key",
            "7",
        ];
        for (wrong, expected) in [
            ("event", Some("events")),
            ("payments", Some("Payments")),
            ("orders_eu", Some("orders-eu")),
            ("orderseu", Some("orders-eu")),
            ("invoices", None),
            ("e", None),
            ("3", None),
            ("kee", Some("key")),
            ("pubic.order", Some("public.orders")),
            ("public.events", None),
            ("public.new", None),
            ("bootstrap.sevrers", Some("bootstrap.servers")),
            ("bootstrap_server", Some("bootstrap.servers")),
            ("bootstrapservers", Some("bootstrap.servers")),
            ("bootstrap.brokers", None),
            ("client.idd", Some("client.id")),
            ("client.ip", Some("client.id")),
            ("client.no", None),
            ("bootstrap", None),
        ] {
            assert_eq!(nearest(wrong, known), expected, "{wrong}");
        }
    }
}
