//! What people sign in with at a local account: names, compared in one form, and hashes of passwords. The only home of
//! `argon2` and `bcrypt`. Who has an account is in `config`, how often one may try in `local`.

use std::fmt;

use argon2::password_hash::phc;
use argon2::password_hash::{CustomizedPasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use unicode_normalization::UnicodeNormalization as _;

use crate::secret::{ExposeSecret as _, SecretString, random};

/// Characters of a name.
const NAME_MAX: usize = 128;
/// Memory of argon2id, in KiB, from OWASP's least to what a process can spare.
const ARGON2_MEMORY: std::ops::RangeInclusive<u32> = 7 * 1024..=256 * 1024;
/// Passes and lanes of argon2id.
const ARGON2_WORK: std::ops::RangeInclusive<u32> = 1..=16;
/// The cost of bcrypt: 10 is the least that counts as slow, 15 takes some seconds.
const BCRYPT_COST: std::ops::RangeInclusive<u32> = 10..=15;

/// A name in the form in which names are compared: two spellings that people take for one are one (Unicode's NFKC, lower
/// case).
pub fn canonical_name(name: &str) -> String {
    let folded: String = name.nfkc().flat_map(char::to_lowercase).collect();
    folded.nfkc().collect()
}

/// Checks a name: it stands in files, where a line that begins with `#` is a comment, in pages and headers.
///
/// # Errors
/// Says what is wrong, as the end of a sentence.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.trim() != name {
        Err("is empty or has space around it".to_owned())
    } else if name.starts_with('#') || name.contains(|c: char| c.is_control() || c == ':') {
        Err("begins with #, or holds a colon or a control character".to_owned())
    } else if name.chars().count() > NAME_MAX {
        Err(format!("is longer than {NAME_MAX} characters"))
    } else {
        Ok(())
    }
}

/// The hash of a password: argon2id as a PHC text, or bcrypt.
#[derive(Clone)]
pub struct PasswordHash {
    kind: Kind,
    text: SecretString,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Argon2id,
    Bcrypt,
}

impl PasswordHash {
    /// Reads a hash.
    ///
    /// # Errors
    /// Another kind, or one that is too weak or too costly; says so, as the end of a sentence, without the hash.
    pub fn parse(text: &str) -> Result<Self, String> {
        let kind = if text.starts_with("$argon2id$") {
            check_argon2id(text)?;
            Kind::Argon2id
        } else if ["$2a$", "$2b$", "$2y$"].iter().any(|version| text.starts_with(version)) {
            check_bcrypt(text)?;
            Kind::Bcrypt
        } else {
            return Err("is not a hash by argon2id or bcrypt".to_owned());
        };
        Ok(Self { kind, text: text.into() })
    }

    /// Hashes a password by argon2id with a new salt.
    ///
    /// # Panics
    /// If the parameters were none; a test sees to that.
    pub fn of(password: &SecretString) -> Self {
        let params = Params::default();
        let hash: phc::PasswordHash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_customized(
                password.expose_secret().as_bytes(),
                &random::<16>(),
                None,
                None,
                Params::default(),
            )
            .expect("our own parameters are good");
        Self { kind: Kind::Argon2id, text: hash.to_string().into() }
    }

    /// Whether it is the hash of this password. Takes a good part of a second and as much memory as it says.
    pub fn verify(&self, password: &SecretString) -> bool {
        let (password, text) = (password.expose_secret().as_bytes(), self.text.expose_secret());
        match self.kind {
            Kind::Argon2id => phc::PasswordHash::new(text)
                .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok()),
            Kind::Bcrypt => bcrypt::verify(password, text).unwrap_or(false),
        }
    }

    /// The hash as it stands in a file.
    pub const fn to_text(&self) -> &SecretString {
        &self.text
    }
}

fn check_argon2id(text: &str) -> Result<(), String> {
    let hash = phc::PasswordHash::new(text).ok().filter(|hash| hash.salt.is_some() && hash.hash.is_some());
    let params = hash.as_ref().and_then(|hash| Params::try_from(hash).ok());
    let params = params.ok_or("is no argon2id hash in the form $argon2id$v=19$m=…,t=…,p=…$salt$hash")?;
    let good = ARGON2_MEMORY.contains(&params.m_cost())
        && ARGON2_WORK.contains(&params.t_cost())
        && ARGON2_WORK.contains(&params.p_cost());
    let (from, to) = (ARGON2_MEMORY.start(), ARGON2_MEMORY.end());
    if good {
        Ok(())
    } else {
        Err(format!("is an argon2id hash with other parameters than m {from} to {to}, t and p 1 to 16"))
    }
}

fn check_bcrypt(text: &str) -> Result<(), String> {
    let parts: bcrypt::HashParts = text.parse().map_err(|_| "is no bcrypt hash")?;
    let (from, to) = (BCRYPT_COST.start(), BCRYPT_COST.end());
    if BCRYPT_COST.contains(&parts.get_cost()) {
        Ok(())
    } else {
        Err(format!("is a bcrypt hash of another cost than {from} to {to} (htpasswd -B -C 12)"))
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_alike_are_one() {
        for (one, other) in [("Ada", "ada"), ("ÅSA", "a\u{30a}sa"), ("ａｄａ", "ada"), ("ﬁn", "FIN"), ("İ", "i\u{307}")]
        {
            assert_eq!(canonical_name(one), canonical_name(other), "{one} {other}");
        }
        assert_ne!(canonical_name("ada"), canonical_name("аda"), "Cyrillic is another script, and another name");
    }

    #[test]
    fn a_name_fits_into_files_and_headers() {
        assert_eq!(check_name("ada lovelace"), Ok(()));
        for bad in ["", " ada", "a:b", "a\nb", "#ada", &"a".repeat(129)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn our_own_hash_is_argon2id_and_verifies() {
        let password = SecretString::from("correct horse");
        let hash = PasswordHash::of(&password);
        let text = hash.to_text().expose_secret();
        assert!(text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
        let read = PasswordHash::parse(text).unwrap();
        assert!(read.verify(&password) && !read.verify(&"correct house".into()) && !read.verify(&"".into()));
        assert_ne!(text, PasswordHash::of(&password).to_text().expose_secret(), "salted");
        assert_eq!(format!("{hash:?}"), "PasswordHash(…)");
    }

    #[test]
    fn bcrypt_is_read_in_the_three_spellings_of_its_version() {
        let made = bcrypt::hash_with_salt("correct horse", 10, [7; 16]).unwrap();
        for version in [bcrypt::Version::TwoA, bcrypt::Version::TwoB, bcrypt::Version::TwoY] {
            let hash = PasswordHash::parse(&made.format_for_version(version)).unwrap();
            assert!(hash.verify(&"correct horse".into()) && !hash.verify(&"correct house".into()));
        }
    }

    #[test]
    fn hashes_that_are_weak_costly_or_of_another_kind_are_refused() {
        let cheap = bcrypt::hash_with_salt("x", 5, [7; 16]).unwrap().to_string();
        for (hash, words) in [
            ("", "not a hash"),
            ("correct horse", "not a hash"),
            ("$apr1$x$y", "not a hash"),
            ("{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=", "not a hash"),
            ("$2x$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy", "not a hash"),
            ("$2y$10$short", "no bcrypt"),
            (&cheap, "another cost"),
            ("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0", "no argon2id"),
            ("$argon2i$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$c2FsdHNhbHRzYWx0", "not a hash"),
            ("$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$c2FsdHNhbHRzYWx0", "other parameters"),
            ("$argon2id$v=19$m=4194304,t=2,p=1$c2FsdHNhbHRzYWx0$c2FsdHNhbHRzYWx0", "other parameters"),
        ] {
            let refused = PasswordHash::parse(hash).unwrap_err();
            assert!(refused.contains(words), "{hash}: {refused}");
        }
    }
}
