//! Statements that go in one flush: each is sent when its future is first polled, and the answers come in the
//! same order.
//!
//! Behind one that fails, a transaction refuses all others with 25P02 (`in_failed_sql_transaction`). Futures
//! that are polled in turn can see such a refusal before the failure itself, whose answer comes while they
//! are looked at. So all answers are waited for, and the first error in the order of the statements is the
//! cause.

use std::future::Future;

use futures_util::FutureExt as _;
use futures_util::future::{JoinAll, Map, join_all};

/// What both give.
///
/// # Errors
/// The first one's error, then the second one's.
pub(in crate::postgres) async fn two<A, B, E>(
    first: impl Future<Output = Result<A, E>>,
    second: impl Future<Output = Result<B, E>>,
) -> Result<(A, B), E> {
    let (first, second) = futures_util::join!(first, second);
    Ok((first?, second?))
}

/// What all three give.
///
/// # Errors
/// As of [`two`].
pub(in crate::postgres) async fn three<A, B, C, E>(
    first: impl Future<Output = Result<A, E>>,
    second: impl Future<Output = Result<B, E>>,
    third: impl Future<Output = Result<C, E>>,
) -> Result<(A, B, C), E> {
    let (first, second, third) = futures_util::join!(first, second, third);
    Ok((first?, second?, third?))
}

/// What all four give.
///
/// # Errors
/// As of [`two`].
pub(in crate::postgres) async fn four<A, B, C, D, E>(
    first: impl Future<Output = Result<A, E>>,
    second: impl Future<Output = Result<B, E>>,
    third: impl Future<Output = Result<C, E>>,
    fourth: impl Future<Output = Result<D, E>>,
) -> Result<(A, B, C, D), E> {
    let (first, second, third, fourth) = futures_util::join!(first, second, third, fourth);
    Ok((first?, second?, third?, fourth?))
}

/// The answers of any number of statements.
type InOrder<F, T, E> = Map<JoinAll<F>, fn(Vec<Result<T, E>>) -> Result<Vec<T>, E>>;

/// What any number of them give, in their order.
///
/// # Errors
/// As of [`two`].
pub(in crate::postgres) fn all<F: Future<Output = Result<T, E>>, T, E>(
    statements: impl IntoIterator<Item = F>,
) -> InOrder<F, T, E> {
    join_all(statements).map(|answers| answers.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use std::future::{poll_fn, ready};
    use std::task::Poll;

    use super::*;

    /// Its answer comes while those behind it are looked at.
    fn late<T>(answer: Result<T, &'static str>) -> impl Future<Output = Result<T, &'static str>> {
        let (mut answer, mut was_looked_at) = (Some(answer), false);
        poll_fn(move |context| {
            if std::mem::replace(&mut was_looked_at, true) {
                return Poll::Ready(answer.take().expect("a future is polled until it is ready"));
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
    }

    #[tokio::test]
    async fn the_first_error_in_order_is_the_cause_whenever_it_is_seen() {
        let effect = || ready(Err::<u32, _>("effect"));
        let cause = || late(Err::<u32, _>("cause"));
        assert_eq!(two(cause(), effect()).await, Err("cause"));
        assert_eq!(three(late(Ok(1)), cause(), effect()).await, Err("cause"));
        assert_eq!(all([Ok(1), Err("cause"), Err("effect")].map(late)).await, Err("cause"));
        assert_eq!(three(late(Ok(1)), ready(Ok(2)), late(Ok::<_, &str>(3))).await, Ok((1, 2, 3)));
        assert_eq!(all([Ok::<_, &str>(1), Ok(2)].map(late)).await, Ok(vec![1, 2]));
    }
}
