//! Every effect, matcher and condition, each with what it takes and what it does not.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::config::{self, MULTI_FACTOR, Sources};

/// When it is.
const NOW: Timestamp = Timestamp(1_800_000_000);

/// The policy of a tenant whose file goes on like this.
#[track_caller]
fn policy(text: &str) -> PolicySettings {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("issuer = \"https://id.example\"\nclient_id = \"a\"\nclient_secret = \"b\"\n{text}");
    std::fs::create_dir(folder.path().join("tenants")).unwrap();
    std::fs::write(folder.path().join("tenants/acme.toml"), file).unwrap();
    let sources = Sources { directory: folder.path().to_owned(), ..Sources::default() };
    let loaded = config::load(&sources).unwrap_or_else(|faults| panic!("{faults}"));
    loaded.settings.tenants[0].policy.clone()
}

/// One rule that has these lines, and nothing else passes.
#[track_caller]
fn rule(lines: &str) -> PolicySettings {
    policy(&format!("default_rule = \"deny\"\n[[rules]]\n{lines}\n"))
}

/// A request, as good as any.
#[derive(Clone, Copy)]
struct Ask<'a> {
    method: &'a str,
    host: &'a str,
    path: &'a str,
    address: &'a str,
}

const ASK: Ask<'static> = Ask { method: "GET", host: "app.acme.example", path: "/", address: "192.0.2.7" };

impl Ask<'_> {
    /// What is said to it; by the way, the explanation must agree.
    #[track_caller]
    fn of<'p>(self, policy: &'p PolicySettings, subject: Option<&Subject<'_>>) -> Decision<'p> {
        let path = RequestPath::parse(self.path).unwrap();
        let address = self.address.parse().unwrap();
        let question = Question { method: self.method, host: self.host, path: &path, address };
        let decision = decide(policy, &question, subject);
        assert_eq!(explain(policy, &question, subject).decision, decision);
        decision
    }

    /// Whether a public rule takes it.
    #[track_caller]
    fn is_public(self, policy: &PolicySettings) -> bool {
        self.of(policy, None).verdict == Verdict::Public
    }
}

fn at(path: &str) -> Ask<'_> {
    Ask { path, ..ASK }
}

fn claims(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// What is said to somebody with these claims.
#[track_caller]
fn with<'p>(policy: &'p PolicySettings, value: &Value) -> Verdict<'p> {
    let claims = claims(value);
    ASK.of(policy, Some(&Subject { claims: (&claims).into(), scope: None, now: NOW })).verdict
}

#[test]
fn without_rules_whoever_is_signed_in_passes() {
    let open = policy("");
    assert_eq!(ASK.of(&open, None), Decision { verdict: Verdict::SignIn, by: By::Default });
    assert_eq!(with(&open, &json!({})), Verdict::Allowed);
    let closed = policy("default_rule = \"deny\"\n");
    assert_eq!(ASK.of(&closed, None), Decision { verdict: Verdict::Denied, by: By::Default });
    assert_eq!(with(&closed, &json!({})), Verdict::Denied);
}

#[test]
fn each_effect_does_what_its_name_says() {
    for (lines, nobody, somebody) in [
        ("effect = \"public\"", Verdict::Public, Verdict::Public),
        ("effect = \"signed_in\"", Verdict::SignIn, Verdict::Allowed),
        ("effect = \"allow\"\nclaims = [{ claim = \"a\", present = true }]", Verdict::SignIn, Verdict::Denied),
        ("effect = \"deny\"", Verdict::Denied, Verdict::Denied),
    ] {
        let policy = rule(lines);
        assert_eq!(ASK.of(&policy, None), Decision { verdict: nobody, by: By::Rule(0) }, "{lines}");
        assert_eq!(with(&policy, &json!({"b": 1})), somebody, "{lines}");
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let policy = policy(
        "[[rules]]\npaths = [\"/a/open\"]\neffect = \"public\"\n\
         [[rules]]\npaths = [\"/a/**\"]\neffect = \"deny\"\n\
         [[rules]]\npaths = [\"/**\"]\neffect = \"public\"\n",
    );
    assert_eq!(at("/a/open").of(&policy, None), Decision { verdict: Verdict::Public, by: By::Rule(0) });
    assert_eq!(at("/a/other").of(&policy, None), Decision { verdict: Verdict::Denied, by: By::Rule(1) });
    assert_eq!(at("/b").of(&policy, None), Decision { verdict: Verdict::Public, by: By::Rule(2) });
}

#[test]
fn paths_are_matched_whole_and_without_regard_to_a_slash_at_the_end() {
    let policy = rule("paths = [\"/a\", \"/b/**\", \"/c/*.css\"]\neffect = \"public\"");
    for path in ["/a", "/a/", "/%61", "/b", "/b/", "/b/c/d", "/c/x.css"] {
        assert!(at(path).is_public(&policy), "{path}");
    }
    for path in ["/", "/a/b", "/ab", "/A", "/bc", "/c/x.js", "/c/d/x.css", "/x/a"] {
        assert!(!at(path).is_public(&policy), "{path}");
    }
}

#[test]
fn methods_are_matched_and_head_is_get() {
    let policy = rule("methods = [\"get\", \"OPTIONS\"]\neffect = \"public\"");
    for method in ["GET", "HEAD", "OPTIONS"] {
        assert!(Ask { method, ..ASK }.is_public(&policy), "{method}");
    }
    for method in ["POST", "DELETE", "GETS", "PROPFIND", ""] {
        assert!(!Ask { method, ..ASK }.is_public(&policy), "{method}");
    }
    let head = rule("methods = [\"HEAD\"]\neffect = \"public\"");
    assert!(!Ask { method: "GET", ..ASK }.is_public(&head));
    let denied = policy_of_two("methods = [\"GET\"]\neffect = \"deny\"", "effect = \"public\"");
    assert!(!Ask { method: "get", ..ASK }.is_public(&denied));
}

fn policy_of_two(one: &str, other: &str) -> PolicySettings {
    policy(&format!("[[rules]]\n{one}\n[[rules]]\n{other}\n"))
}

#[test]
fn hosts_are_matched_without_case_dot_and_port() {
    let policy = rule("hosts = [\"app.acme.example\", \"*.dev.acme.example\"]\neffect = \"public\"");
    for host in
        ["app.acme.example", "APP.acme.example.", "app.acme.example:8443", "x.dev.acme.example", "a.b.dev.acme.example"]
    {
        assert!(Ask { host, ..ASK }.is_public(&policy), "{host}");
    }
    for host in ["acme.example", "x.app.acme.example", "dev.acme.example", "evildev.acme.example", "", "[::1]:80"] {
        assert!(!Ask { host, ..ASK }.is_public(&policy), "{host}");
    }
}

#[test]
fn networks_are_matched_by_the_client() {
    let policy = rule("networks = [\"10.0.0.0/8\", \"2001:db8::1\"]\neffect = \"public\"");
    for address in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1"] {
        assert!(Ask { address, ..ASK }.is_public(&policy), "{address}");
    }
    for address in ["11.0.0.1", "127.0.0.1", "2001:db8::2", "::ffff:11.0.0.1"] {
        assert!(!Ask { address, ..ASK }.is_public(&policy), "{address}");
    }
}

#[test]
fn all_parts_of_a_rule_must_match() {
    let policy = rule(
        "paths = [\"/a\"]\nmethods = [\"GET\"]\nhosts = [\"app.acme.example\"]\nnetworks = [\"192.0.2.0/24\"]\neffect = \"public\"",
    );
    assert!(at("/a").is_public(&policy));
    for ask in [
        at("/b"),
        Ask { method: "POST", ..at("/a") },
        Ask { host: "other.example", ..at("/a") },
        Ask { address: "198.51.100.1", ..at("/a") },
    ] {
        assert!(!ask.is_public(&policy));
    }
}

#[test]
fn conditions_test_claims() {
    for (condition, good, bad) in [
        (
            "claim = \"a\", equals = \"x\"",
            vec![json!("x")],
            vec![json!("X"), json!("x "), json!(["x"]), json!({"x": 1}), json!(null), json!(true)],
        ),
        ("claim = \"a\", equals = 7", vec![json!(7)], vec![json!("7"), json!(8), json!([7])]),
        ("claim = \"a\", equals = true", vec![json!(true)], vec![json!("true"), json!(1), json!(false)]),
        (
            "claim = \"a\", contains = \"x\"",
            vec![json!(["x"]), json!(["y", "x"])],
            vec![json!("x"), json!("axb"), json!(["xx"]), json!([["x"]]), json!([]), json!({"x": "x"})],
        ),
        (
            "claim = \"a\", any_of = [\"x\", \"y\"]",
            vec![json!("x"), json!("y"), json!(["z", "y"])],
            vec![json!("z"), json!("x y"), json!([]), json!(["z"]), json!(null)],
        ),
        (
            "claim = \"a\", all_of = [\"x\", \"y\"]",
            vec![json!(["x", "y"]), json!(["y", "z", "x"])],
            vec![json!(["x"]), json!("x"), json!([]), json!(null)],
        ),
        (
            "claim = \"a\", present = true",
            vec![json!("x"), json!(0), json!(true), json!([0]), json!({"x": null})],
            vec![json!(null), json!(false), json!(""), json!([]), json!({})],
        ),
    ] {
        let policy = rule(&format!("effect = \"allow\"\nclaims = [{{ {condition} }}]"));
        assert_eq!(with(&policy, &json!({})), Verdict::Denied, "{condition}");
        for value in good {
            assert_eq!(with(&policy, &json!({ "a": value })), Verdict::Allowed, "{condition}: {value}");
        }
        for value in bad {
            assert_eq!(with(&policy, &json!({ "a": value })), Verdict::Denied, "{condition}: {value}");
        }
    }
}

#[test]
fn a_claim_is_named_by_its_whole_name_or_by_a_way_into_tables() {
    let named =
        rule("effect = \"allow\"\nclaims = [{ claim = \"https://acme.example/roles.all:x\", contains = \"admin\" }]");
    assert_eq!(with(&named, &json!({"https://acme.example/roles.all:x": ["admin"]})), Verdict::Allowed);
    assert_eq!(with(&named, &json!({"https://acme": {"example/roles": {"all:x": ["admin"]}}})), Verdict::Denied);
    let dotted = rule("effect = \"allow\"\nclaims = [{ claim = \"a.b\", equals = \"x\" }]");
    assert_eq!(with(&dotted, &json!({"a.b": "x"})), Verdict::Allowed);
    assert_eq!(with(&dotted, &json!({"a": {"b": "x"}})), Verdict::Denied);
    let nested = rule("effect = \"allow\"\nclaims = [{ claim = [\"a\", \"b.c\"], equals = \"x\" }]");
    assert_eq!(with(&nested, &json!({"a": {"b.c": "x"}})), Verdict::Allowed);
    for other in [json!({"a": "x"}), json!({"a": {"b": {"c": "x"}}}), json!({"a": ["b.c"]}), json!({"a.b.c": "x"})] {
        assert_eq!(with(&nested, &other), Verdict::Denied);
    }
}

#[test]
fn all_conditions_and_all_scopes_must_hold() {
    let policy = rule(
        "effect = \"allow\"\nscopes = [\"read:a\", \"read:b\"]\n\
         claims = [{ claim = \"a\", equals = 1 }, { claim = \"b\", equals = 2 }]",
    );
    let scopes = ["read:a".to_owned(), "read:b".to_owned()];
    let verdict = |value: Value, scope: Option<&str>| {
        let claims = claims(&value);
        ASK.of(&policy, Some(&Subject { claims: (&claims).into(), scope, now: NOW })).verdict
    };
    assert_eq!(verdict(json!({"a": 1, "b": 2}), Some("openid read:b read:a")), Verdict::Allowed);
    assert_eq!(verdict(json!({"a": 1, "b": 2}), Some("read:a")), Verdict::MissingScopes(&scopes));
    assert_eq!(verdict(json!({"a": 1, "b": 2}), None), Verdict::MissingScopes(&scopes));
    assert_eq!(verdict(json!({"a": 1, "b": 2}), Some("read:ab read:b")), Verdict::MissingScopes(&scopes));
    assert_eq!(verdict(json!({"a": 1}), Some("read:a read:b")), Verdict::Denied);
    assert_eq!(verdict(json!({"b": 2}), None), Verdict::Denied);
    // Of an access token, scopes and permissions.
    assert_eq!(verdict(json!({"a": 1, "b": 2, "scope": "read:a read:b"}), None), Verdict::Allowed);
    assert_eq!(verdict(json!({"a": 1, "b": 2, "permissions": ["read:a"], "scope": "read:b"}), None), Verdict::Allowed);
    assert_eq!(verdict(json!({"a": 1, "b": 2, "scp": "read:a read:b"}), None), Verdict::Allowed);
    assert_eq!(verdict(json!({"a": 1, "b": 2, "scp": ["read:a", "read:b"]}), None), Verdict::Allowed);
    assert_eq!(verdict(json!({"a": 1, "b": 2, "scp": ["read:a read:b"]}), None), Verdict::MissingScopes(&scopes));
    assert_eq!(verdict(json!({"a": 1, "b": 2, "scope": ["read:a"]}), None), Verdict::MissingScopes(&scopes));
}

#[test]
fn a_step_up_asks_for_a_recent_sign_in() {
    let policy = rule("effect = \"step_up\"\nmax_age = \"10m\"");
    let again = Verdict::StepUp(StepUp { max_age: Some(600), acr_values: None });
    assert_eq!(ASK.of(&policy, None).verdict, Verdict::SignIn);
    // The leeway is a minute.
    for age in [0, 600, 660, -60] {
        assert_eq!(with(&policy, &json!({ "auth_time": NOW.0 - age })), Verdict::Allowed, "{age}");
    }
    assert_eq!(with(&policy, &json!({ "auth_time": NOW.0 as f64 + 0.5 })), Verdict::Allowed);
    for age in [661, 100_000, -61, -100_000] {
        assert_eq!(with(&policy, &json!({ "auth_time": NOW.0 - age })), again, "{age}");
    }
    for other in [json!({}), json!({"auth_time": null}), json!({"auth_time": NOW.0.to_string()}), json!({"iat": NOW.0})]
    {
        assert_eq!(with(&policy, &other), again);
    }
}

#[test]
fn a_step_up_asks_for_a_strong_sign_in() {
    let policy = rule(&format!("effect = \"step_up\"\nacr_values = \"phr {MULTI_FACTOR}\""));
    for strong in [json!({"acr": "phr"}), json!({"acr": MULTI_FACTOR}), json!({"amr": ["pwd", "mfa"]})] {
        assert_eq!(with(&policy, &strong), Verdict::Allowed);
    }
    for weak in
        [json!({}), json!({"acr": "ph"}), json!({"acr": ["phr"]}), json!({"amr": ["pwd"]}), json!({"amr": "mfa"})]
    {
        assert!(matches!(with(&policy, &weak), Verdict::StepUp(StepUp { max_age: None, acr_values: Some(_) })));
    }
    let other = rule("effect = \"step_up\"\nacr_values = \"phr\"");
    assert!(matches!(with(&other, &json!({"amr": ["mfa"]})), Verdict::StepUp(_)));
    let both = rule("effect = \"step_up\"\nacr_values = \"phr\"\nmax_age = 600");
    assert_eq!(with(&both, &json!({"acr": "phr", "auth_time": NOW.0})), Verdict::Allowed);
    assert!(matches!(
        with(&both, &json!({"acr": "phr"})),
        Verdict::StepUp(StepUp { max_age: Some(600), acr_values: Some("phr") })
    ));
    assert!(matches!(with(&both, &json!({"auth_time": NOW.0})), Verdict::StepUp(_)));
}

#[test]
fn access_takes_verified_addresses_only() {
    let policy = policy("[access]\nemails = [\"Ada@acme.example\"]\n");
    for verified in [json!(true), json!("true")] {
        let good = claims(&json!({"email": "ada@ACME.example", "email_verified": verified}));
        assert_eq!(admits(&policy.access, &good), Ok(()));
    }
    for (value, why) in [
        (json!({}), AccessRefused::NoEmail),
        (json!({"email": ["ada@acme.example"], "email_verified": true}), AccessRefused::NoEmail),
        (json!({"email": "ada@acme.example"}), AccessRefused::Unverified),
        (json!({"email": "ada@acme.example", "email_verified": false}), AccessRefused::Unverified),
        (json!({"email": "ada@acme.example", "email_verified": "false"}), AccessRefused::Unverified),
        (json!({"email": "ada@acme.example", "email_verified": 1}), AccessRefused::Unverified),
        (json!({"email": "bob@acme.example", "email_verified": true}), AccessRefused::OtherEmail),
        (json!({"email": "ada@acme.example.evil.example", "email_verified": true}), AccessRefused::OtherEmail),
    ] {
        assert_eq!(admits(&policy.access, &claims(&value)), Err(why), "{value}");
    }
}

#[test]
fn access_takes_a_domain_whole() {
    let policy =
        policy("[access]\nemails = [\"bob@other.example\"]\nemail_domains = [\"acme.example\", \"*.dev.example\"]\n");
    let says = |email: &str| admits(&policy.access, &claims(&json!({"email": email, "email_verified": true})));
    for email in ["a@acme.example", "A@ACME.EXAMPLE", "a@x.dev.example", "bob@other.example"] {
        assert_eq!(says(email), Ok(()), "{email}");
    }
    for email in [
        "a@evilacme.example",
        "a@x.acme.example",
        "a@acme.example.evil.example",
        "a@dev.example",
        "a@evil.example",
        "a@other.example",
        "a@b c.dev.example",
    ] {
        assert_eq!(says(email), Err(AccessRefused::OtherEmail), "{email}");
    }
    for email in [
        "a@ok.example@acme.example",
        "a@acme.example@evil.example",
        "\"a@b\"@acme.example",
        "@acme.example",
        "acme.example",
        "a@",
        "@",
        "",
    ] {
        assert_eq!(says(email), Err(AccessRefused::Malformed), "{email}");
    }
}

#[test]
fn access_asks_all_its_conditions_besides_the_address() {
    let policy = policy(
        "[access]\nemail_domains = [\"acme.example\"]\n\
         claims = [{ claim = \"a\", equals = 1 }, { claim = \"b\", equals = 2 }]\n",
    );
    let mut good = json!({"email": "a@acme.example", "email_verified": true, "a": 1, "b": 2});
    assert_eq!(with(&policy, &good), Verdict::Allowed);
    good["b"] = json!(3);
    assert_eq!(admits(&policy.access, &claims(&good)), Err(AccessRefused::Claim(1)));
    good["a"] = json!(3);
    assert_eq!(admits(&policy.access, &claims(&good)), Err(AccessRefused::Claim(0)));
    assert_eq!(with(&policy, &json!({"a": 1, "b": 2})), Verdict::Denied);
}

#[test]
fn access_is_asked_again_of_every_subject() {
    let policy = policy(
        "[access]\nclaims = [{ claim = \"staff\", equals = true }]\n\
         [[rules]]\npaths = [\"/open\"]\neffect = \"public\"\n\
         [[rules]]\npaths = [\"/a\"]\neffect = \"allow\"\nclaims = [{ claim = \"a\", present = true }]\n\
         [[rules]]\npaths = [\"/b\"]\neffect = \"step_up\"\nmax_age = \"1h\"\n",
    );
    let gone = claims(&json!({"staff": false, "a": 1, "auth_time": NOW.0}));
    let gone = Subject { claims: (&gone).into(), scope: None, now: NOW };
    for path in ["/", "/a", "/b"] {
        assert_eq!(at(path).of(&policy, Some(&gone)), Decision { verdict: Verdict::Denied, by: By::Access }, "{path}");
        assert_eq!(at(path).of(&policy, None).verdict, Verdict::SignIn, "{path}");
    }
    assert_eq!(at("/open").of(&policy, Some(&gone)).verdict, Verdict::Public);
    let there = claims(&json!({"staff": true, "a": 1, "auth_time": NOW.0}));
    let there = Subject { claims: (&there).into(), scope: None, now: NOW };
    for path in ["/", "/a", "/b"] {
        assert_eq!(at(path).of(&policy, Some(&there)).verdict, Verdict::Allowed, "{path}");
    }
}

#[test]
fn an_explanation_names_what_was_passed_over_what_decided_and_what_is_lacking() {
    let policy = policy(
        "default_rule = \"deny\"\n\
         [access]\nemail_domains = [\"acme.example\"]\n\
         [[rules]]\nname = \"assets\"\npaths = [\"/assets/**\"]\neffect = \"public\"\n\
         [[rules]]\nmethods = [\"POST\", \"PUT\"]\nnetworks = [\"10.0.0.0/8\"]\neffect = \"deny\"\n\
         [[rules]]\nname = \"admins\"\nhosts = [\"app.acme.example\"]\npaths = [\"/admin\"]\neffect = \"allow\"\nscopes = [\"x\", \"y\"]\n\
         claims = [{ claim = [\"a\", \"b\"], contains = \"admin\" }]\n",
    );
    let path = RequestPath::parse("/admin").unwrap();
    let question = Question { method: "PUT", host: ASK.host, path: &path, address: ASK.address.parse().unwrap() };
    let said = |value: Value| {
        let claims = claims(&value);
        explain(&policy, &question, Some(&Subject { claims: (&claims).into(), scope: Some("y"), now: NOW })).to_string()
    };
    let passed = "rules[0] (assets) does not match: the path is not /assets/**.\n\
                  rules[1] does not match: the client is not in 10.0.0.0/8.\n\
                  rules[2] (admins) matches; its effect is allow.\n";
    let mut person = json!({"email": "a@acme.example", "email_verified": true});
    assert_eq!(
        said(json!({})),
        format!(
            "{passed}Denied by [access], which is asked first: access.emails or access.email_domains asks for an e-mail address, and there is none."
        )
    );
    assert_eq!(
        said(person.clone()),
        format!("{passed}Denied: this does not hold: a > b contains \"admin\" (there is no such claim).")
    );
    person["a"] = json!({"b": ["guest"]});
    assert_eq!(
        said(person.clone()),
        format!("{passed}Denied: this does not hold: a > b contains \"admin\" (the claim is another).")
    );
    person["a"] = json!({"b": ["admin"]});
    assert_eq!(said(person.clone()), format!("{passed}Denied: these scopes were not granted: x."));
    person["scope"] = json!("x");
    assert_eq!(said(person), format!("{passed}Passes."));
    assert_eq!(
        explain(&policy, &question, None).to_string(),
        format!("{passed}Must sign in first: nobody is signed in.")
    );
    let other = RequestPath::parse("/other").unwrap();
    let last = explain(&policy, &Question { path: &other, method: "GET", ..question }, None).to_string();
    assert!(last.contains("rules[1] does not match: the method is not POST or PUT."), "{last}");
    assert!(last.ends_with("No rule matches; default_rule is deny.\nDenied, as everybody is."), "{last}");
}

#[test]
fn a_subject_shows_no_claim() {
    let claims = claims(&json!({"email": "ada@acme.example"}));
    assert!(!format!("{:?}", Subject { claims: (&claims).into(), scope: None, now: NOW }).contains("ada"));
}

/// Rules of all kinds, close together.
static MIXED: LazyLock<PolicySettings> = LazyLock::new(|| {
    policy(
        "[access]\nemail_domains = [\"acme.example\"]\n\
         [[rules]]\npaths = [\"/a/b\", \"/*/c*\"]\nmethods = [\"GET\"]\neffect = \"public\"\n\
         [[rules]]\npaths = [\"/a/**\"]\neffect = \"allow\"\nclaims = [{ claim = \"x\", equals = 1 }]\n\
         [[rules]]\npaths = [\"/b*/**\"]\nhosts = [\"*.acme.example\"]\neffect = \"allow\"\nscopes = [\"read\"]\n\
         [[rules]]\npaths = [\"/c\", \"/d/*/a\"]\nnetworks = [\"192.0.2.0/24\"]\neffect = \"deny\"\n\
         [[rules]]\npaths = [\"/c/**\"]\neffect = \"step_up\"\nmax_age = \"1h\"\n\
         [[rules]]\npaths = [\"/%C3%A4/**\"]\neffect = \"deny\"\n",
    )
});

prop_compose! {
    /// Somebody, or nobody.
    fn somebody()(
        there in any::<bool>(), domain in "acme|evil", verified in any::<bool>(), x in 0..2, age in 0..7200_i64,
        scope in prop::option::of("read|write"),
    ) -> Option<(Map<String, Value>, Option<String>)> {
        let claims = json!({
            "email": format!("a@{domain}.example"), "email_verified": verified, "x": x, "auth_time": NOW.0 - age,
        });
        there.then(|| (claims.as_object().unwrap().clone(), scope))
    }
}

proptest! {
    #[test]
    fn no_spelling_of_a_request_changes_the_decision(
        path in "(/[abcdä]{1,3}){0,3}/?",
        escapes in prop::collection::vec(any::<bool>(), 40),
        host in "(app\\.acme\\.example|acme\\.example|evil)",
        method in "GET|HEAD|POST",
        slash in any::<bool>(),
        who in somebody(),
    ) {
        let path = if path.is_empty() { "/".to_owned() } else { path };
        let subject = who.as_ref().map(|(claims, scope)| Subject { claims: claims.into(), scope: scope.as_deref(), now: NOW });
        let plain = Ask { method: &method, host: &host, path: &path, ..ASK };
        let expected = plain.of(&MIXED, subject.as_ref());

        let mut respelled: String = path.bytes().zip(escapes).map(|(byte, escape)| match byte {
            b'/' => "/".to_owned(),
            _ if escape || !byte.is_ascii() => format!("%{byte:02x}"),
            _ => char::from(byte).to_string(),
        }).collect();
        if slash && !respelled.ends_with('/') {
            respelled.push('/');
        }
        let loud = format!("{}.:8443", host.to_uppercase());
        let again = Ask { path: &respelled, host: &loud, address: "::ffff:192.0.2.7", ..plain };
        prop_assert_eq!(again.of(&MIXED, subject.as_ref()), expected, "{}", respelled);
    }

    #[test]
    fn no_query_changes_the_decision(path in "(/[abcd]{1,2}){1,3}", query in "[^#]*", who in somebody()) {
        let subject = who.as_ref().map(|(claims, scope)| Subject { claims: claims.into(), scope: scope.as_deref(), now: NOW });
        let target = format!("{path}?{query}");
        let asked = RequestPath::of_target(&target).unwrap();
        let question = Question { method: "GET", host: "a", path: &asked, address: ASK.address.parse().unwrap() };
        let expected = Ask { host: "a", ..at(&path) }.of(&MIXED, subject.as_ref());
        prop_assert_eq!(decide(&MIXED, &question, subject.as_ref()), expected);
    }

    #[test]
    fn an_explanation_names_the_rule_that_decides(path in "(/[abcd]{1,2}){1,3}", who in somebody()) {
        let subject = who.as_ref().map(|(claims, scope)| Subject { claims: claims.into(), scope: scope.as_deref(), now: NOW });
        let asked = RequestPath::parse(&path).unwrap();
        let question = Question { method: "POST", host: "a", path: &asked, address: ASK.address.parse().unwrap() };
        let said = explain(&MIXED, &question, subject.as_ref());
        let decision = decide(&MIXED, &question, subject.as_ref());
        prop_assert_eq!(said.decision, decision);
        if let By::Rule(place) = decision.by {
            let expected = format!("rules[{place}] matches");
            prop_assert!(said.sentences[place].starts_with(&expected));
            prop_assert_eq!(said.sentences.len(), place + 2);
        }
        let word = said.sentences.last().unwrap().split([' ', ',', '.', ':']).next().unwrap();
        let expected = match decision.verdict {
            Verdict::Public | Verdict::Allowed => "Passes",
            Verdict::SignIn | Verdict::StepUp(_) => "Must",
            Verdict::Denied | Verdict::MissingScopes(_) => "Denied",
        };
        prop_assert_eq!(word, expected);
    }
}
