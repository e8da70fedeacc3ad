//! Closed sets: enums whose values have words, such as labels, columns of the ledger or choices of the
//! configuration.

/// Declares a closed set from one list of values and their words. Beside the enum it makes `ALL`, the values
/// in the order of the list, `WORDS`, the same with their words, and the method declared behind it, which
/// gives a value's word.
#[macro_export]
macro_rules! words {
    (
        $(#[$set:meta])*
        pub enum $type:ident {
            $($(#[$value:meta])* $name:ident = $word:literal,)*
        }
        $(#[$method_doc:meta])*
        fn $method:ident;
    ) => {
        $(#[$set])*
        pub enum $type {
            $($(#[$value])* $name,)*
        }

        impl $type {
            /// All values, in the order of their declaration.
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$name),*];

            /// Each value with its word, in the same order.
            pub const WORDS: [(&'static str, Self); Self::ALL.len()] = [$(($word, Self::$name)),*];

            $(#[$method_doc])*
            pub const fn $method(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}
