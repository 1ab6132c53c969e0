//! New work, which waits while there is much of it and is turned away when there is too much.

use super::Gateway;
use crate::turnstile::{Overloaded, Pass};

/// What is more than a look into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A sign-in begins.
    SignIn,
    /// A sign-in ends.
    Callback,
    /// An unknown bearer is verified.
    Bearer,
    /// A provider asks for sessions to end.
    LogoutRequest,
}

impl Work {
    const fn label(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::Callback => "callback",
            Self::Bearer => "bearer",
            Self::LogoutRequest => "logout_request",
        }
    }
}

impl Gateway {
    /// Lets new work begin; it lasts until what is returned is dropped.
    ///
    /// # Errors
    /// There is too much of it.
    pub async fn begin(&self, work: Work) -> Result<Pass<'_>, Overloaded> {
        let entered = self.turnstile.enter().await;
        if entered.is_err() {
            self.metrics.requests_shed_total.with_label_values(&[work.label()]).inc();
        }
        entered
    }
}
