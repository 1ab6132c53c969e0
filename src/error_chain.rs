//! An error and all that caused it, in one line, for logs and for people at a terminal.

use std::error::Error;

/// What `error` says and what its sources say, colons between. A transparent wrapper says what its source says: that
/// stands once.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let said = source.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Failure {
        #[error("no answer")]
        Slow,
        #[error(transparent)]
        Wrapped(Box<Self>),
        #[error("sessions")]
        Sessions(#[source] Box<Self>),
    }

    #[test]
    fn every_cause_stands_once() {
        let inner = Failure::Sessions(Box::new(Failure::Slow));
        assert_eq!(chain(&Failure::Sessions(Box::new(Failure::Wrapped(Box::new(inner))))), "sessions: no answer");
        assert_eq!(chain(&Failure::Slow), "no answer");
    }
}
