//! What can be wrong, as far as the person in front of the page is concerned, and what they can do about it. The
//! words are in the message files. `build.rs` compiles this file too: it imports nothing.

/// What an error page says. Many error codes share a text: codes are for those who help, texts for those who read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorText {
    /// The provider or the tenant's policy said no.
    AccessDenied,
    /// The account is blocked at the provider.
    UserBlocked,
    /// The provider needs the person to sign in or to agree.
    SignInRequired,
    /// The provider did not accept the sign-in request.
    RequestRefused,
    /// Settings here and at the provider do not fit.
    Misconfigured,
    /// The provider is down, slow, or answers nonsense.
    ProviderTrouble,
    /// The provider's answer failed a check.
    ProviderUntrusted,
    /// The sign-in link was changed, used already, or belongs to something else.
    LinkBroken,
    /// The sign-in took too long.
    SignInExpired,
    /// The callback came without the cookie of its attempt.
    CookieMissing,
    /// The sign-in succeeded, but the browser did not bring the session cookie back.
    CookieNotReturned,
    /// The account is no member of a wanted organization.
    OrganizationRefused,
    /// No such page, or no such tenant.
    NotFound,
    /// The page exists, the method does not.
    MethodNotAllowed,
    /// A host name that we do not serve.
    Misdirected,
    /// Another site's page, or none, made a request that changes something.
    ForeignRequest,
    /// We cannot answer right now.
    Unavailable,
    /// The request is larger than we read.
    TooLarge,
    /// The request makes no sense.
    BadRequest,
    /// A fault of ours.
    Internal,
}

impl ErrorText {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 20] = [
        Self::AccessDenied,
        Self::UserBlocked,
        Self::SignInRequired,
        Self::RequestRefused,
        Self::Misconfigured,
        Self::ProviderTrouble,
        Self::ProviderUntrusted,
        Self::LinkBroken,
        Self::SignInExpired,
        Self::CookieMissing,
        Self::CookieNotReturned,
        Self::OrganizationRefused,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Misdirected,
        Self::ForeignRequest,
        Self::Unavailable,
        Self::TooLarge,
        Self::BadRequest,
        Self::Internal,
    ];

    /// The name in the message files, such as `access_denied`.
    pub const fn id(self) -> &'static str {
        match self {
            Self::AccessDenied => "access_denied",
            Self::UserBlocked => "user_blocked",
            Self::SignInRequired => "sign_in_required",
            Self::RequestRefused => "request_refused",
            Self::Misconfigured => "misconfigured",
            Self::ProviderTrouble => "provider_trouble",
            Self::ProviderUntrusted => "provider_untrusted",
            Self::LinkBroken => "link_broken",
            Self::SignInExpired => "sign_in_expired",
            Self::CookieMissing => "cookie_missing",
            Self::CookieNotReturned => "cookie_not_returned",
            Self::OrganizationRefused => "organization_refused",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Misdirected => "misdirected",
            Self::ForeignRequest => "foreign_request",
            Self::Unavailable => "unavailable",
            Self::TooLarge => "too_large",
            Self::BadRequest => "bad_request",
            Self::Internal => "internal",
        }
    }

    /// Whether the message files list likely causes, one a line.
    pub const fn has_causes(self) -> bool {
        matches!(self, Self::CookieMissing | Self::CookieNotReturned)
    }

    /// What to offer next, the best first.
    pub const fn actions(self) -> &'static [Action] {
        match self {
            Self::AccessDenied | Self::OrganizationRefused => &[Action::OtherAccount, Action::SignOut],
            Self::UserBlocked => &[Action::SignOut],
            Self::SignInRequired
            | Self::RequestRefused
            | Self::ProviderTrouble
            | Self::ProviderUntrusted
            | Self::CookieMissing
            | Self::CookieNotReturned => &[Action::SignIn],
            Self::LinkBroken | Self::SignInExpired => &[Action::SignIn, Action::Dashboard],
            Self::NotFound | Self::MethodNotAllowed | Self::TooLarge | Self::BadRequest | Self::Misconfigured => {
                &[Action::Start]
            }
            Self::Misdirected => &[],
            Self::ForeignRequest => &[Action::Start],
            Self::Unavailable | Self::Internal => &[Action::Reload],
        }
    }
}

/// A next step that an error page offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Start a sign-in.
    SignIn,
    /// Start one that asks for the account anew.
    OtherAccount,
    /// Sign out here and at the provider.
    SignOut,
    /// Go to the dashboard.
    Dashboard,
    /// Ask for the same page again.
    Reload,
    /// Go to the first page.
    Start,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::SignIn, Self::OtherAccount, Self::SignOut, Self::Dashboard, Self::Reload, Self::Start];

    /// The name in the message files.
    pub const fn id(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::OtherAccount => "other_account",
            Self::SignOut => "sign_out",
            Self::Dashboard => "dashboard",
            Self::Reload => "reload",
            Self::Start => "start",
        }
    }

    /// Where it leads, below the tenant's base; `None` is the very page.
    pub const fn route(self) -> Option<&'static str> {
        match self {
            Self::SignIn => Some("/login"),
            Self::OtherAccount => Some("/login?prompt=login"),
            Self::SignOut => Some("/logout"),
            Self::Dashboard => Some("/dashboard"),
            Self::Start => Some("/"),
            Self::Reload => None,
        }
    }

    /// Whether it makes sense only where a tenant is known.
    pub const fn needs_tenant(self) -> bool {
        !matches!(self, Self::Reload | Self::Start)
    }
}
