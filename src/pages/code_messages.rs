//! The messages that code asks for, besides those of `error_text`; templates name theirs. `build.rs` compiles this file
//! too, to see that all exist.

/// Claims that have a label, in the order in which the dashboard shows them (OpenID Connect Core, section 5.1;
/// RFC 7519, section 4.1; Auth0's organizations).
pub const CLAIMS: [&str; 33] = [
    "name",
    "given_name",
    "middle_name",
    "family_name",
    "nickname",
    "preferred_username",
    "email",
    "email_verified",
    "phone_number",
    "phone_number_verified",
    "picture",
    "profile",
    "website",
    "gender",
    "birthdate",
    "zoneinfo",
    "locale",
    "address",
    "org_id",
    "org_name",
    "groups",
    "roles",
    "updated_at",
    "sub",
    "iss",
    "aud",
    "auth_time",
    "iat",
    "exp",
    "session_expiry",
    "amr",
    "acr",
    "sid",
];

/// How a moment is written; placeholders `day`, `month`, `year`, `time`.
pub const TIME_FORMAT: &str = "time.format";

/// The twelve months, parted by blanks.
pub const TIME_MONTHS: &str = "time.months";
