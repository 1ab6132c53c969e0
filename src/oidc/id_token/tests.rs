//! Tokens really signed, with keys made here; each one good but for the fault that the test is about.

use std::sync::LazyLock;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use proptest::prelude::*;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256};
use serde_json::json;

use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000);
const LEEWAY: i64 = 60;
const MAX_AGE: i64 = 600;
const ISSUER: &str = "https://acme.eu.auth0.com/";
const CLIENT: &str = "client-1";
const SECRET: &str = "a secret of the client, long enough to be one";
const ACCESS_TOKEN: &str = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";

/// A key of a provider.
struct Signer {
    key: EncodingKey,
    pem: KeyPair,
    kid: &'static str,
    alg: Algorithm,
}

static RSA: LazyLock<Signer> = LazyLock::new(|| Signer::rsa("rsa-1"));
static OTHER_RSA: LazyLock<Signer> = LazyLock::new(|| Signer::rsa("rsa-2"));
static EC: LazyLock<Signer> = LazyLock::new(|| {
    let pem = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let key = EncodingKey::from_ec_pem(pem.serialize_pem().as_bytes()).unwrap();
    Signer { key, pem, kid: "ec-1", alg: Algorithm::ES256 }
});
static ED: LazyLock<Signer> = LazyLock::new(|| {
    let pem = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    // `Jwk::from_encoding_key` knows the form of 48 bytes only, without the public key at the end.
    let key = EncodingKey::from_ed_der(pem.serialized_der());
    Signer { key, pem, kid: "ed-1", alg: Algorithm::EdDSA }
});

impl Signer {
    fn rsa(kid: &'static str) -> Self {
        let pem = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        let key = EncodingKey::from_rsa_pem(pem.serialize_pem().as_bytes()).unwrap();
        Self { key, pem, kid, alg: Algorithm::RS256 }
    }

    /// The public key as it stands in a key set.
    fn jwk(&self) -> Value {
        let mut jwk = match self.alg {
            Algorithm::EdDSA => json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(self.pem.public_key_raw())}),
            alg => serde_json::to_value(Jwk::from_encoding_key(&self.key, alg).unwrap()).unwrap(),
        };
        jwk.as_object_mut().unwrap().remove("alg");
        merged(jwk, json!({"kid": self.kid, "use": "sig"}))
    }

    /// A token of this key, whatever its header says.
    fn sign(&self, header: &Value, claims: &Value) -> String {
        signed(&self.key, self.alg, header, claims)
    }

    fn header(&self) -> Value {
        json!({"alg": format!("{:?}", self.alg), "typ": "JWT", "kid": self.kid})
    }
}

fn signed(key: &EncodingKey, alg: Algorithm, header: &Value, claims: &Value) -> String {
    let message = unsigned(header, claims);
    let signature = crypto::sign(message.as_bytes(), key, alg).unwrap();
    format!("{message}.{signature}")
}

fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims.to_string().as_bytes()))
}

/// `base` with the members of `changes`; those that are null are taken away.
#[track_caller]
fn merged(mut base: Value, changes: Value) -> Value {
    let object = base.as_object_mut().unwrap();
    for (name, value) in serde_json::from_value::<Map<String, Value>>(changes).unwrap() {
        if value.is_null() {
            object.remove(&name)
        } else {
            object.insert(name, value)
        };
    }
    base
}

fn key_set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn good_claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "auth0|1", "aud": CLIENT, "exp": NOW.0 + 36_000, "iat": NOW.0 - 1, "nonce": "n-1",
        "sid": "s-1", "email_verified": "true", "updated_at": "2026-11-23T14:00:00.000Z",
    })
}

const fn nothing_special() -> Expected<'static> {
    Expected {
        nonce: "n-1",
        started_at: Timestamp(NOW.0 - 30),
        max_age: None,
        prompt_login: false,
        acr_values: None,
        organization: None,
        organizations: &[],
    }
}

/// Checks a token and returns its claims or the code of the fault.
fn outcome(
    token: &str,
    alg: SigningAlg,
    keys: &[Value],
    expected: &Expected<'_>,
) -> Result<VerifiedClaims, &'static str> {
    let (secret, access_token) = (SECRET.into(), ACCESS_TOKEN.into());
    let checks = Checks {
        issuer: ISSUER,
        client_id: CLIENT,
        alg,
        client_secret: Some(&secret),
        leeway: LEEWAY,
        id_token_max_age: MAX_AGE,
        now: NOW,
        expected,
        access_token: Some(&access_token),
    };
    let checked = unverified(token).and_then(|unverified| check(unverified, &key_set(keys), &checks));
    checked.map_err(|error| error.code())
}

/// The outcome of a good token of `RSA` with these changes of its claims.
fn with_claims(changes: Value, expected: &Expected<'_>) -> Result<VerifiedClaims, &'static str> {
    let token = RSA.sign(&RSA.header(), &merged(good_claims(), changes));
    outcome(&token, SigningAlg::Rs256, &[RSA.jwk(), OTHER_RSA.jwk(), EC.jwk()], expected)
}

#[track_caller]
fn accepts(changes: Value, expected: &Expected<'_>) {
    let said = changes.to_string();
    assert_eq!(with_claims(changes, expected).err(), None, "{said}");
}

#[track_caller]
fn refuses(changes: Value, expected: &Expected<'_>, code: &str) {
    let said = changes.to_string();
    assert_eq!(with_claims(changes, expected).err(), Some(code), "{said}");
}

/// The outcome of a good token of `RSA` with this header.
#[track_caller]
fn refuses_header(changes: Value, keys: &[Value], code: &str) {
    let token = RSA.sign(&merged(RSA.header(), changes), &good_claims());
    assert_eq!(outcome(&token, SigningAlg::Rs256, keys, &nothing_special()).err(), Some(code));
}

#[test]
fn a_good_token_of_every_algorithm_is_accepted() {
    let all = [RSA.jwk(), EC.jwk(), ED.jwk()];
    for (signer, alg) in [(&*RSA, SigningAlg::Rs256), (&*EC, SigningAlg::Es256), (&*ED, SigningAlg::EdDsa)] {
        let token = signer.sign(&signer.header(), &good_claims());
        assert_eq!(outcome(&token, alg, &all, &nothing_special()).err(), None, "{alg:?}");
    }
    let header = merged(RSA.header(), json!({"alg": "PS256"}));
    let token = signed(&RSA.key, Algorithm::PS256, &header, &good_claims());
    assert_eq!(outcome(&token, SigningAlg::Ps256, &all, &nothing_special()).err(), None);

    let secret = EncodingKey::from_secret(SECRET.as_bytes());
    let token = signed(&secret, Algorithm::HS256, &json!({"alg": "HS256"}), &good_claims());
    assert_eq!(outcome(&token, SigningAlg::Hs256, &[], &nothing_special()).err(), None);
}

#[test]
fn a_good_token_gives_its_claims() {
    let verified =
        with_claims(json!({"session_expiry": NOW.0 + 5}), &nothing_special()).map_err(str::to_owned).unwrap();
    assert_eq!(verified.sub, "auth0|1");
    assert_eq!(verified.sid.as_deref(), Some("s-1"));
    assert_eq!(verified.session_expiry, Some(NOW.plus(5)));
    assert_eq!(verified.claims["email_verified"], json!(true));
    assert_eq!(verified.claims["updated_at"], json!("2026-11-23T14:00:00.000Z"));
}

#[test]
fn an_email_that_is_not_verified_stays_so() {
    for (given, kept) in [
        (json!("false"), json!(false)),
        (json!(false), json!(false)),
        (json!("yes"), json!("yes")),
        (json!(1), json!(1)),
    ] {
        let verified =
            with_claims(json!({"email_verified": given}), &nothing_special()).map_err(str::to_owned).unwrap();
        assert_eq!(verified.claims["email_verified"], kept);
    }
}

// The header: 6, 7, 8.

#[test]
fn a_token_without_signature_is_refused() {
    for none in ["none", "None", "NONE", ""] {
        let header = merged(RSA.header(), json!({"alg": none}));
        for alg in [SigningAlg::Rs256, SigningAlg::Hs256] {
            let token = format!("{}.", unsigned(&header, &good_claims()));
            assert_eq!(outcome(&token, alg, &[RSA.jwk()], &nothing_special()).err(), Some("id_token_alg"), "{none}");
        }
    }
    let token = format!("{}.", unsigned(&RSA.header(), &good_claims()));
    let refused = outcome(&token, SigningAlg::Rs256, &[RSA.jwk()], &nothing_special()).err();
    assert_eq!(refused, Some("id_token_signature"));
}

#[test]
fn a_token_of_another_algorithm_is_refused_though_a_key_for_it_is_there() {
    let keys = [RSA.jwk(), EC.jwk()];
    let token = EC.sign(&EC.header(), &good_claims());
    assert_eq!(outcome(&token, SigningAlg::Rs256, &keys, &nothing_special()).err(), Some("id_token_alg"));
    let token = signed(&RSA.key, Algorithm::PS256, &merged(RSA.header(), json!({"alg": "PS256"})), &good_claims());
    assert_eq!(outcome(&token, SigningAlg::Rs256, &keys, &nothing_special()).err(), Some("id_token_alg"));
    let token = RSA.sign(&RSA.header(), &good_claims());
    assert_eq!(outcome(&token, SigningAlg::Hs256, &keys, &nothing_special()).err(), Some("id_token_alg"));
}

#[test]
fn the_public_key_is_no_secret_to_sign_with() {
    let header = merged(RSA.header(), json!({"alg": "HS256"}));
    let pem = RSA.pem.public_key_pem();
    let jwk = RSA.jwk();
    for guess in [pem.as_bytes(), pem.trim_end().as_bytes(), jwk["n"].as_str().unwrap().as_bytes(), b""] {
        let token = signed(&EncodingKey::from_secret(guess), Algorithm::HS256, &header, &good_claims());
        let refused = |alg| outcome(&token, alg, &[RSA.jwk()], &nothing_special()).err();
        assert_eq!(refused(SigningAlg::Rs256), Some("id_token_alg"));
        assert_eq!(refused(SigningAlg::Hs256), Some("id_token_signature"));
    }
    // The same with a header that hides it.
    let token = signed(&EncodingKey::from_secret(pem.as_bytes()), Algorithm::HS256, &RSA.header(), &good_claims());
    assert_eq!(outcome(&token, SigningAlg::Rs256, &[RSA.jwk()], &nothing_special()).err(), Some("id_token_signature"));
}

#[test]
fn a_symmetric_key_of_the_set_is_never_used() {
    let published = json!({"kty": "oct", "kid": "oct-1", "alg": "HS256", "k": base64url(b"published")});
    let header = json!({"alg": "HS256", "kid": "oct-1"});
    let token = signed(&EncodingKey::from_secret(b"published"), Algorithm::HS256, &header, &good_claims());
    let refused = outcome(&token, SigningAlg::Hs256, &[published], &nothing_special()).err();
    assert_eq!(refused, Some("id_token_signature"));
}

#[test]
fn hs256_without_a_client_secret_is_refused() {
    let token = signed(&EncodingKey::from_secret(b""), Algorithm::HS256, &json!({"alg": "HS256"}), &good_claims());
    for secret in [None, Some(SecretString::from(""))] {
        let checks = Checks {
            issuer: ISSUER,
            client_id: CLIENT,
            alg: SigningAlg::Hs256,
            client_secret: secret.as_ref(),
            leeway: LEEWAY,
            id_token_max_age: MAX_AGE,
            now: NOW,
            expected: &nothing_special(),
            access_token: None,
        };
        let refused = check(unverified(&token).unwrap(), &key_set(&[]), &checks).err().unwrap();
        assert_eq!(refused.code(), "id_token_key_unknown");
    }
}

#[test]
fn a_key_that_is_not_known_is_told_from_a_wrong_signature() {
    refuses_header(json!({"kid": "rsa-9"}), &[RSA.jwk(), OTHER_RSA.jwk()], "id_token_key_unknown");
    refuses_header(json!({"kid": "rsa-2"}), &[RSA.jwk(), OTHER_RSA.jwk()], "id_token_signature");
    refuses_header(json!({}), &[OTHER_RSA.jwk()], "id_token_key_unknown");
    refuses_header(json!({}), &[], "id_token_key_unknown");
}

#[test]
fn a_token_that_names_no_key_needs_exactly_one_that_suits() {
    let no_kid = || json!({"kid": null});
    let token = RSA.sign(&merged(RSA.header(), no_kid()), &good_claims());
    let good = |keys: &[Value]| outcome(&token, SigningAlg::Rs256, keys, &nothing_special()).err();
    assert_eq!(good(&[RSA.jwk()]), None);
    assert_eq!(good(&[RSA.jwk(), EC.jwk(), merged(OTHER_RSA.jwk(), json!({"use": "enc"}))]), None);
    assert_eq!(good(&[RSA.jwk(), merged(OTHER_RSA.jwk(), json!({"alg": "PS256"}))]), None);
    refuses_header(no_kid(), &[RSA.jwk(), OTHER_RSA.jwk()], "id_token_key_ambiguous");
    refuses_header(no_kid(), &[OTHER_RSA.jwk()], "id_token_signature");
    refuses_header(no_kid(), &[EC.jwk()], "id_token_key_unknown");
}

#[test]
fn two_keys_of_one_name_are_ambiguous() {
    let twin = merged(OTHER_RSA.jwk(), json!({"kid": RSA.kid}));
    refuses_header(json!({}), &[RSA.jwk(), twin], "id_token_key_ambiguous");
}

#[test]
fn a_key_for_another_purpose_is_not_used() {
    for changes in [
        json!({"use": "enc"}),
        json!({"key_ops": ["encrypt"]}),
        json!({"alg": "PS256"}),
        json!({"alg": "RSA-OAEP"}),
        json!({"kty": "EC"}),
    ] {
        refuses_header(json!({}), &[merged(RSA.jwk(), changes)], "id_token_key_unknown");
    }
}

#[test]
fn only_a_missing_key_is_worth_another_fetch() {
    let keys = key_set(&[RSA.jwk(), OTHER_RSA.jwk()]);
    let knows = |header: Value, alg| {
        let token = RSA.sign(&header, &good_claims());
        keys.knows(&unverified(&token).unwrap(), alg)
    };
    assert!(knows(RSA.header(), SigningAlg::Rs256));
    assert!(!knows(merged(RSA.header(), json!({"kid": "rsa-9"})), SigningAlg::Rs256));
    assert!(knows(merged(RSA.header(), json!({"kid": null})), SigningAlg::Rs256));
    assert!(knows(merged(RSA.header(), json!({"kid": "rsa-9", "alg": "none"})), SigningAlg::Rs256));
    assert!(knows(json!({"alg": "HS256", "kid": "rsa-9"}), SigningAlg::Hs256));
}

#[test]
fn a_header_with_crit_or_zip_is_refused_before_any_key_is_looked_for() {
    refuses_header(json!({"zip": "DEF"}), &[RSA.jwk()], "id_token_malformed");
    refuses_header(json!({"crit": ["exp"], "kid": "rsa-9"}), &[RSA.jwk()], "id_token_malformed");
    refuses_header(json!({"crit": []}), &[RSA.jwk()], "id_token_malformed");
}

#[test]
fn a_token_of_another_kind_is_no_id_token() {
    for typ in [json!("logout+jwt"), json!("at+jwt"), json!(""), json!(7)] {
        refuses_header(json!({ "typ": typ }), &[RSA.jwk()], "id_token_malformed");
    }
    for typ in [json!("jwt"), json!(null)] {
        let token = RSA.sign(&merged(RSA.header(), json!({ "typ": typ })), &good_claims());
        assert!(outcome(&token, SigningAlg::Rs256, &[RSA.jwk()], &nothing_special()).is_ok(), "{typ}");
    }
}

#[test]
fn what_is_no_signed_token_is_malformed() {
    let good = RSA.sign(&RSA.header(), &good_claims());
    let [header, payload, signature]: [&str; 3] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let text = |text: &str| base64url(text.as_bytes());
    let cases = [
        ".".to_owned(),
        "..".to_owned(),
        format!("{header}.{payload}"),
        format!("{good}.{signature}"),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}.{signature}="),
        format!(" {good}"),
        format!("{}.{payload}.{signature}", text("[]")),
        format!("{}.{payload}.{signature}", text("not JSON")),
        format!("{}.{payload}.{signature}", text("{}")),
        format!("{}.{payload}.{signature}", text(r#"{"alg":["RS256"]}"#)),
        format!("{}.{payload}.{signature}", text(r#"{"alg":"RS256","kid":7}"#)),
        format!("{header}.{}.{signature}", "A".repeat(64 * 1024)),
    ];
    for token in cases {
        let refused = outcome(&token, SigningAlg::Rs256, &[RSA.jwk()], &nothing_special()).err();
        assert_eq!(refused, Some("id_token_malformed"), "{}", &token[..token.len().min(80)]);
    }
    assert_eq!(unverified("").err().unwrap().code(), "id_token_missing");
}

#[test]
fn a_payload_that_is_no_object_is_malformed() {
    for payload in [json!([]), json!("text"), json!(null), json!([good_claims()])] {
        let token = RSA.sign(&RSA.header(), &payload);
        let refused = outcome(&token, SigningAlg::Rs256, &[RSA.jwk()], &nothing_special()).err();
        assert_eq!(refused, Some("id_token_malformed"), "{payload}");
    }
}

#[test]
fn no_character_of_a_token_can_be_changed() {
    let token = EC.sign(&EC.header(), &good_claims());
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(outcome(&changed, SigningAlg::Es256, &[EC.jwk()], &nothing_special()).is_err(), "{at}");
    }
}

#[test]
fn the_signature_is_looked_at_before_any_claim() {
    let token = OTHER_RSA.sign(&RSA.header(), &json!({"iss": "https://evil.example"}));
    let refused = outcome(&token, SigningAlg::Rs256, &[RSA.jwk()], &nothing_special()).err();
    assert_eq!(refused, Some("id_token_signature"));
}

proptest! {
    #[test]
    fn any_text_is_refused_without_a_panic(header in any::<Vec<u8>>(), payload in any::<Vec<u8>>(), text in any::<String>()) {
        let token = format!("{}.{}.{}", base64url(&header), base64url(&payload), base64url(text.as_bytes()));
        prop_assert!(outcome(&token, SigningAlg::Rs256, &[], &nothing_special()).is_err());
        prop_assert!(outcome(&text, SigningAlg::Rs256, &[], &nothing_special()).is_err());
    }
}

// The claims: 2 to 5 and 9 to 13.

#[test]
fn a_token_of_another_issuer_is_refused() {
    refuses(json!({"iss": null}), &nothing_special(), "id_token_iss_missing");
    for iss in ["https://acme.eu.auth0.com", "https://ACME.eu.auth0.com/", "https://acme.eu.auth0.com//", ""] {
        refuses(json!({"iss": iss}), &nothing_special(), "id_token_iss");
    }
    refuses(json!({"iss": [ISSUER]}), &nothing_special(), "id_token_malformed");
}

#[test]
fn a_token_without_a_usable_sub_is_refused() {
    refuses(json!({"sub": null}), &nothing_special(), "id_token_sub_missing");
    refuses(json!({"sub": ""}), &nothing_special(), "id_token_sub_missing");
    refuses(json!({"sub": 7}), &nothing_special(), "id_token_malformed");
    refuses(json!({"sub": "ü"}), &nothing_special(), "id_token_malformed");
    refuses(json!({"sub": "s".repeat(256)}), &nothing_special(), "id_token_malformed");
    accepts(json!({"sub": "s".repeat(255)}), &nothing_special());
}

#[test]
fn a_token_for_somebody_else_is_refused() {
    refuses(json!({"aud": null}), &nothing_special(), "id_token_aud_missing");
    for aud in [json!("client-2"), json!([]), json!(["client-2"]), json!("client-1 "), json!("client-")] {
        refuses(json!({"aud": aud}), &nothing_special(), "id_token_aud");
    }
    refuses(json!({"aud": {"client-1": true}}), &nothing_special(), "id_token_malformed");
    refuses(json!({"aud": [CLIENT, 7]}), &nothing_special(), "id_token_malformed");
    accepts(json!({"aud": [CLIENT]}), &nothing_special());
}

#[test]
fn several_audiences_need_azp_and_azp_is_us() {
    refuses(json!({"aud": [CLIENT, "api"]}), &nothing_special(), "id_token_azp");
    refuses(json!({"aud": [CLIENT, "api"], "azp": "api"}), &nothing_special(), "id_token_azp");
    refuses(json!({"azp": "client-2"}), &nothing_special(), "id_token_azp");
    accepts(json!({"aud": ["api", CLIENT], "azp": CLIENT}), &nothing_special());
    accepts(json!({"azp": CLIENT}), &nothing_special());
}

#[test]
fn a_token_ends_at_exp_and_leeway() {
    refuses(json!({"exp": null}), &nothing_special(), "id_token_exp_missing");
    refuses(json!({"exp": NOW.0 - LEEWAY}), &nothing_special(), "id_token_expired");
    refuses(json!({"exp": 0}), &nothing_special(), "id_token_expired");
    refuses(json!({"exp": i64::MIN}), &nothing_special(), "id_token_expired");
    refuses(json!({"exp": "1900000000"}), &nothing_special(), "id_token_malformed");
    accepts(json!({"exp": NOW.0 - LEEWAY + 1}), &nothing_special());
    accepts(json!({"exp": NOW.0 as f64 + 0.5}), &nothing_special());
    accepts(json!({"exp": u64::MAX}), &nothing_special());
    accepts(json!({"exp": 1e300}), &nothing_special());
}

#[test]
fn a_token_is_neither_from_the_future_nor_too_old() {
    refuses(json!({"iat": null}), &nothing_special(), "id_token_iat_missing");
    refuses(json!({"iat": NOW.0 + LEEWAY + 1}), &nothing_special(), "id_token_iat");
    refuses(json!({"iat": NOW.0 - MAX_AGE - LEEWAY - 1}), &nothing_special(), "id_token_iat");
    refuses(json!({"iat": i64::MIN}), &nothing_special(), "id_token_iat");
    refuses(json!({"iat": u64::MAX}), &nothing_special(), "id_token_iat");
    refuses(json!({"iat": true}), &nothing_special(), "id_token_malformed");
    accepts(json!({"iat": NOW.0 + LEEWAY}), &nothing_special());
    accepts(json!({"iat": NOW.0 - MAX_AGE - LEEWAY}), &nothing_special());
    accepts(json!({"iat": NOW.0 as f64 - 0.5}), &nothing_special());
}

#[test]
fn a_token_does_not_count_before_nbf() {
    refuses(json!({"nbf": NOW.0 + LEEWAY + 1}), &nothing_special(), "id_token_nbf");
    accepts(json!({"nbf": NOW.0 + LEEWAY}), &nothing_special());
}

#[test]
fn a_token_of_another_sign_in_is_refused() {
    refuses(json!({"nonce": null}), &nothing_special(), "id_token_nonce_missing");
    for nonce in ["", "n-2", "n-1 ", "N-1"] {
        refuses(json!({"nonce": nonce}), &nothing_special(), "id_token_nonce");
    }
}

#[test]
fn the_asked_class_of_authentication_is_demanded() {
    let asked = Expected { acr_values: Some("gold  silver"), ..nothing_special() };
    refuses(json!({}), &asked, "id_token_acr");
    refuses(json!({"acr": "bronze"}), &asked, "id_token_acr");
    refuses(json!({"acr": "gold silver"}), &asked, "id_token_acr");
    refuses(json!({"amr": ["mfa"]}), &asked, "id_token_acr");
    accepts(json!({"acr": "silver"}), &asked);
    accepts(json!({"acr": "bronze"}), &Expected { acr_values: Some(" "), ..nothing_special() });
}

#[test]
fn a_second_factor_that_was_asked_for_is_found_in_amr() {
    let asked = Expected { acr_values: Some(MULTI_FACTOR), ..nothing_special() };
    refuses(json!({}), &asked, "id_token_acr");
    refuses(json!({"amr": ["pwd"]}), &asked, "id_token_acr");
    refuses(json!({"amr": {"mfa": 1}}), &asked, "id_token_malformed");
    accepts(json!({"amr": ["pwd", "mfa"]}), &asked);
    accepts(json!({"acr": MULTI_FACTOR}), &asked);
}

#[test]
fn a_sign_in_at_the_provider_is_as_recent_as_max_age_asked() {
    let asked = Expected { max_age: Some(300), ..nothing_special() };
    refuses(json!({}), &asked, "id_token_auth_time");
    refuses(json!({"auth_time": NOW.0 - 300 - LEEWAY - 1}), &asked, "id_token_auth_time");
    accepts(json!({"auth_time": NOW.0 - 300 - LEEWAY}), &asked);
    accepts(json!({"auth_time": 0}), &nothing_special());
    accepts(json!({"auth_time": 0}), &Expected { max_age: Some(i64::MAX), ..nothing_special() });
}

#[test]
fn a_new_sign_in_at_the_provider_is_no_older_than_the_attempt() {
    let asked = Expected { prompt_login: true, ..nothing_special() };
    let started_at = asked.started_at.0;
    refuses(json!({}), &asked, "id_token_auth_time");
    refuses(json!({"auth_time": started_at - LEEWAY - 1}), &asked, "id_token_auth_time");
    accepts(json!({"auth_time": started_at - LEEWAY}), &asked);
    let both = Expected { max_age: Some(100_000), ..asked };
    refuses(json!({"auth_time": started_at - LEEWAY - 1}), &both, "id_token_auth_time");
}

#[test]
fn a_token_with_the_hash_of_another_access_token_is_refused() {
    // The example of OpenID Connect Core, appendix A.3.
    accepts(json!({"at_hash": "77QmUPtjPfzWtF2AnpK9RQ"}), &nothing_special());
    for hash in ["77QmUPtjPfzWtF2AnpK9RR", "", "77QmUPtjPfzWtF2AnpK9RQ=="] {
        refuses(json!({"at_hash": hash}), &nothing_special(), "id_token_at_hash");
    }
    refuses(json!({"at_hash": 7}), &nothing_special(), "id_token_malformed");
}

#[test]
fn under_ed25519_the_access_token_is_hashed_with_sha_512() {
    let at_hash = |hash: &[u8]| {
        let token = ED.sign(&ED.header(), &merged(good_claims(), json!({"at_hash": base64url(hash)})));
        outcome(&token, SigningAlg::EdDsa, &[ED.jwk()], &nothing_special()).err()
    };
    assert_eq!(at_hash(&sha512(ACCESS_TOKEN.as_bytes())[..32]), None);
    assert_eq!(at_hash(&sha256(ACCESS_TOKEN.as_bytes())[..16]), Some("id_token_at_hash"));
}

#[test]
fn the_asked_organization_is_demanded() {
    let by_id = Expected { organization: Some("org_1"), ..nothing_special() };
    accepts(json!({"org_id": "org_1"}), &by_id);
    for claims in [
        json!({}),
        json!({"org_id": "org_2"}),
        json!({"org_id": "ORG_1"}),
        json!({"org_id": ""}),
        json!({"org_name": "org_1"}),
    ] {
        refuses(claims, &by_id, "organization_refused");
    }
    refuses(json!({"org_id": ["org_1"]}), &by_id, "id_token_malformed");

    let by_name = Expected { organization: Some("Acme"), ..nothing_special() };
    accepts(json!({"org_id": "org_1", "org_name": "acme"}), &by_name);
    accepts(json!({"org_name": "ACME"}), &by_name);
    for claims in [json!({}), json!({"org_name": "acme2"}), json!({"org_id": "acme"}), json!({"org_id": "Acme"})] {
        refuses(claims, &by_name, "organization_refused");
    }
}

#[test]
fn only_members_of_the_listed_organizations_may_sign_in() {
    let organizations = ["org_1".to_owned(), "Globex".to_owned()];
    let listed = Expected { organizations: &organizations, ..nothing_special() };
    accepts(json!({"org_id": "org_1"}), &listed);
    accepts(json!({"org_id": "org_7", "org_name": "globex"}), &listed);
    for claims in [json!({}), json!({"org_id": "org_2", "org_name": "acme"}), json!({"org_name": "org_1"})] {
        refuses(claims, &listed, "organization_refused");
    }
    // An organization that was asked for must be listed too.
    let asked = Expected { organization: Some("org_2"), ..listed };
    refuses(json!({"org_id": "org_2"}), &asked, "organization_refused");
    refuses(json!({"org_id": "org_1"}), &asked, "organization_refused");
}

#[test]
fn a_session_that_would_have_ended_already_is_refused() {
    refuses(json!({"session_expiry": NOW.0}), &nothing_special(), "session_expiry_past");
    refuses(json!({"session_expiry": NOW.0 as f64 + 0.9}), &nothing_special(), "session_expiry_past");
    refuses(json!({"session_expiry": "soon"}), &nothing_special(), "id_token_malformed");
    accepts(json!({"session_expiry": NOW.0 + 1}), &nothing_special());
}

#[test]
fn a_refreshed_token_goes_on_from_the_one_before() {
    let keys = key_set(&[RSA.jwk()]);
    let access_token = ACCESS_TOKEN.into();
    let organizations = ["org_1".to_owned()];
    let expected = Expected { nonce: "", organizations: &organizations, ..nothing_special() };
    let checks = Checks {
        issuer: ISSUER,
        client_id: CLIENT,
        alg: SigningAlg::Rs256,
        client_secret: None,
        leeway: LEEWAY,
        id_token_max_age: MAX_AGE,
        now: NOW,
        expected: &expected,
        access_token: Some(&access_token),
    };
    let before = json!({"auth_time": NOW.0 - 500, "iat": NOW.0 - 500, "org_id": "org_1"});
    let before = merged(good_claims(), before);
    // Auth0 leaves out sid and nonce.
    let bare = json!({"sid": null, "nonce": null, "org_id": "org_1"});
    for (changes, code) in [
        (json!({}), None),
        (json!({"nonce": "n-1", "auth_time": NOW.0 - 500, "azp": CLIENT}), None),
        (json!({"aud": [CLIENT, "another"], "azp": CLIENT}), None),
        (json!({"iat": NOW.0 - 550}), None),
        (json!({"sub": "auth0|2"}), Some("id_token_changed")),
        (json!({"nonce": "n-2"}), Some("id_token_changed")),
        (json!({"auth_time": NOW.0 - 499}), Some("id_token_changed")),
        (json!({"iat": NOW.0 - 561}), Some("id_token_changed")),
        (json!({"iss": "https://acme.us.auth0.com/"}), Some("id_token_iss")),
        (json!({"aud": "another"}), Some("id_token_aud")),
        (json!({"azp": "another"}), Some("id_token_azp")),
        (json!({"at_hash": "another"}), Some("id_token_at_hash")),
        (json!({"exp": NOW.0 - 61}), Some("id_token_expired")),
        (json!({"org_id": null}), Some("organization_refused")),
        (json!({"session_expiry": NOW.0 - 1}), Some("session_expiry_past")),
    ] {
        let token = RSA.sign(&RSA.header(), &merged(merged(good_claims(), bare.clone()), changes.clone()));
        let unverified = unverified(&token).unwrap();
        let checked = check_refreshed(unverified, &keys, &checks, before.as_object().unwrap());
        assert_eq!(checked.err().map(|error| error.code()), code, "{changes}");
    }
    // An audience that the first token had must not be missing.
    let before = merged(before, json!({"aud": [CLIENT, "another"]}));
    let token = RSA.sign(&RSA.header(), &merged(good_claims(), bare));
    let unverified = unverified(&token).unwrap();
    let checked = check_refreshed(unverified, &keys, &checks, before.as_object().unwrap());
    assert_eq!(checked.err().map(|error| error.code()), Some("id_token_changed"));
}

#[test]
fn what_was_expected_does_not_print_its_nonce() {
    assert!(!format!("{:?}", nothing_special()).contains("n-1"));
}
