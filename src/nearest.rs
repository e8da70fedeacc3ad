//! Which known name a wrong one was probably meant to be.

/// The known name that is spelt most like `wrong`, if one is near enough to be meant: at most a third of the
/// longer name's letters differ, and one always may. Case and separators don't count.
pub fn nearest<'n>(wrong: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let plain = |name: &str| name.to_lowercase().replace(['-', '.', ' '], "_");
    let wanted = plain(wrong);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&wanted, &plain(name)), name))
        .filter(|(distance, name)| *distance <= (name.len().max(wrong.len()) / 3).max(1))
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_only_when_it_is_near() {
        let known = ["events", "orders-eu", "Payments"];
        for (wrong, expected) in [
            ("event", Some("events")),
            ("payments", Some("Payments")),
            ("orders_eu", Some("orders-eu")),
            ("invoices", None),
            ("e", None),
        ] {
            assert_eq!(nearest(wrong, known), expected, "{wrong}");
        }
    }
}
