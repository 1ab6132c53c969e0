//! The rules of `[access]`, `[[rules]]` and `default_rule`.

use super::*;

fn with(lines: &str) -> String {
    format!("{ACME}{lines}\n")
}

/// A rule is refused with one fault of this key of it.
#[track_caller]
fn rule_refused(lines: &str, key: &str, words: &str) {
    refused(&with(&format!("[[rules]]\n{lines}")), &format!("rules[0].{key}"), words);
}

#[test]
fn rules_are_read_in_their_order_with_all_they_say() {
    let text = with(
        "default_rule = \"deny\"\n[access]\nemails = [\"Ada@Acme.example\"]\nemail_domains = [\"acme.example\"]\n\
         [[rules]]\nname = \"one\"\npaths = [\"/a/**\"]\nmethods = [\"get\"]\nhosts = [\"A.example\"]\nnetworks = [\"10.0.0.1\"]\n\
         effect = \"allow\"\nscopes = [\"read:a\"]\nclaims = [{ claim = [\"a\", \"b\"], any_of = [\"x\", 1, true] }]\n\
         [[rules]]\neffect = \"step_up\"\nmax_age = \"5m\"\nacr_values = \"phr phrh\"\n",
    );
    let policy = Folder::with(&[("tenants/acme.toml", &text)]).good().tenants[0].policy.clone();
    assert_eq!((policy.default_rule, policy.leeway), (DefaultRule::Deny, 60));
    assert_eq!(policy.access.emails, ["ada@acme.example"]);
    assert_eq!(policy.access.email_domains, [HostPattern::Exact("acme.example".into())]);
    let [one, two] = &*policy.rules else { panic!("two rules") };
    assert_eq!((one.called(0), two.called(1)), ("rules[0] (one)".to_owned(), "rules[1]".to_owned()));
    assert_eq!((one.paths[0].to_string(), one.methods.as_slice()), ("/a/**".to_owned(), &["GET".to_owned()][..]));
    assert_eq!(
        (one.hosts[0].to_string(), one.networks.to_string()),
        ("a.example".to_owned(), "10.0.0.1/32".to_owned())
    );
    let Effect::Allow { claims, scopes } = &one.effect else { panic!("{:?}", one.effect) };
    assert_eq!(claims[0].to_string(), "a > b is any of \"x\", 1, true");
    assert_eq!(scopes, &["read:a"]);
    assert!(
        matches!(&two.effect, Effect::StepUp { max_age: Some(300), acr_values: Some(values) } if values == "phr phrh")
    );
}

#[test]
fn yaml_and_json_hold_rules_as_well() {
    let yaml = "issuer: https://id.example/realm\nclient_id: abc\nclient_secret: x1\nrules:\n- paths: [/a]\n  effect: allow\n  \
                claims: [{claim: a, equals: 1}, {claim: b, present: true}]\n";
    let json = r#"{"domain": "c.eu.auth0.com", "client_id": "abc", "client_secret": "x2",
                   "rules": [{"effect": "allow", "claims": [{"claim": "a", "equals": 1}, {"claim": "b", "present": true}]}]}"#;
    for tenant in Folder::with(&[("tenants/a.yaml", yaml), ("tenants/b.json", json)]).good().tenants {
        let Effect::Allow { claims, .. } = &tenant.policy.rules[0].effect else { panic!("no allow") };
        assert_eq!(claims[0].test, Test::Equals(1.into()));
        assert_eq!(claims[1].test, Test::Present);
    }
}

#[test]
fn each_mistake_in_a_rule_is_said() {
    rule_refused("paths = [\"/a\"]", "effect", "is missing; allowed: public, signed_in, allow, deny, step_up");
    rule_refused("effect = \"alow\"", "effect", "did you mean allow?");
    rule_refused("effect = \"deny\"\npath = [\"/a\"]", "path", "did you mean paths?");
    rule_refused("effect = \"deny\"\npaths = [\"/a/\"]", "paths[0]", "ends in a slash");
    rule_refused("effect = \"deny\"\npaths = [\"/a/**\", \"/a/../b\"]", "paths[1]", "dot segment");
    rule_refused("effect = \"deny\"\npaths = [\"/a/**/b\"]", "paths[0]", "`**`");
    rule_refused("effect = \"deny\"\npaths = [\"a\"]", "paths[0]", "slash");
    rule_refused("effect = \"deny\"\npaths = [\"/a?b\"]", "paths[0]", "differently");
    rule_refused("effect = \"deny\"\npaths = \"/a\"", "paths", "must be a list");
    rule_refused("effect = \"deny\"\npaths = []", "paths", "leave the key out to match all");
    rule_refused("effect = \"deny\"\nmethods = [\"GTE\"]", "methods[0]", "not a method that is known");
    rule_refused("effect = \"deny\"\nmethods = []", "methods", "is empty");
    rule_refused("effect = \"deny\"\nhosts = [\"a.example:80\"]", "hosts[0]", "neither a host");
    rule_refused("effect = \"deny\"\nhosts = []", "hosts", "is empty");
    rule_refused("effect = \"deny\"\nnetworks = [\"10.0.0.0/33\"]", "networks[0]", "neither an address nor a network");
    rule_refused("effect = \"deny\"\nnetworks = []", "networks", "is empty");
    rule_refused("effect = \"allow\"", "effect", "allow needs claims or scopes");
    rule_refused("effect = \"allow\"\nscopes = []", "scopes", "is empty");
    rule_refused("effect = \"allow\"\nclaims = []", "claims", "is empty");
    rule_refused("effect = \"allow\"\nscopes = [\"a b\"]", "scopes[0]", "is not one scope");
    rule_refused(
        "effect = \"deny\"\nclaims = [{ claim = \"a\", equals = 1 }]",
        "claims",
        "belongs to the effect allow only",
    );
    rule_refused("effect = \"public\"\nscopes = [\"a\"]", "scopes", "belongs to the effect allow only");
    rule_refused("effect = \"step_up\"", "effect", "step_up needs max_age or acr_values");
    rule_refused("effect = \"step_up\"\nmax_age = \"1s\"", "max_age", "must be from 1m");
    rule_refused(
        "effect = \"allow\"\nscopes = [\"a\"]\nmax_age = \"1h\"",
        "max_age",
        "belongs to the effect step_up only",
    );
    rule_refused("effect = \"deny\"\nacr_values = \"phr\"", "acr_values", "belongs to the effect step_up only");
    refused(&with("rules = \"/a\""), "rules", "must be a list of tables");
    refused(&with("default_rule = \"allow\""), "default_rule", "allowed: signed_in, deny");
}

#[test]
fn each_mistake_in_a_condition_is_said() {
    let condition = |lines: &str, key: &str, words: &str| {
        rule_refused(&format!("effect = \"allow\"\nclaims = [{{ {lines} }}]"), &format!("claims[0].{key}"), words);
        refused(&with(&format!("[access]\nclaims = [{{ {lines} }}]")), &format!("access.claims[0].{key}"), words);
    };
    condition("equals = 1", "claim", "is missing");
    condition("claim = \"a\"", "claim", "exactly one test");
    condition("claim = \"a\", equals = 1, present = true", "claim", "exactly one test");
    condition("claim = \"a\", eqals = 1, equals = 1", "eqals", "did you mean equals?");
    condition("claim = 1, equals = 1", "claim", "must be a text");
    condition("claim = [\"a\", 1], equals = 1", "claim", "must be a text or a list of texts");
    condition("claim = [], equals = 1", "claim", "is empty");
    condition("claim = \"a\", equals = 1.5", "equals", "a text, a whole number, or true or false");
    condition("claim = \"a\", equals = [\"a\"]", "equals", "a text, a whole number, or true or false");
    condition("claim = \"a\", any_of = \"a\"", "any_of", "must be a list");
    condition("claim = \"a\", any_of = []", "any_of", "is empty");
    condition("claim = \"a\", all_of = []", "all_of", "is empty");
    condition("claim = \"a\", all_of = [[]]", "all_of", "a text, a whole number, or true or false");
    condition("claim = \"a\", present = false", "present", "can only be true");
    condition("claim = \"a\", contains = \"${NOT_SET}\"", "contains", "NOT_SET, which is not set");
}

#[test]
fn each_mistake_in_access_is_said() {
    refused(&with("[access]\nemails = []"), "access.emails", "leave the key out to ask for no address");
    refused(&with("[access]\nemail_domains = []"), "access.email_domains", "is empty");
    refused(&with("[access]\nclaims = []"), "access.claims", "is empty");
    for bad in ["acme.example", "@acme.example", "a@", "a@b@acme.example", "a b@acme.example", "a@*.example"] {
        refused(&with(&format!("[access]\nemails = [\"{bad}\"]")), "access.emails[0]", "is not an e-mail address");
    }
    for bad in ["@acme.example", ".acme.example", "*", "https://acme.example"] {
        refused(&with(&format!("[access]\nemail_domains = [\"{bad}\"]")), "access.email_domains[0]", "neither a host");
    }
    refused(&with("[access]\nemail = [\"a@acme.example\"]"), "access.email", "did you mean emails?");
}

#[test]
fn a_rule_that_an_earlier_one_hides_is_a_mistake() {
    let rules = |first: &str, second: &str| {
        with(&format!(
            "[[rules]]\nname = \"first\"\n{first}\neffect = \"public\"\n[[rules]]\nname = \"second\"\n{second}\neffect = \"deny\""
        ))
    };
    for (first, second) in [
        ("", ""),
        ("", "paths = [\"/a\"]\nnetworks = [\"10.0.0.0/8\"]"),
        ("paths = [\"/**\"]", ""),
        ("paths = [\"/b\", \"/a/**\"]", "paths = [\"/a\", \"/a/b\"]"),
        ("paths = [\"/a\"]", "paths = [\"/a\"]\nmethods = [\"GET\"]"),
        ("methods = [\"GET\", \"POST\"]", "methods = [\"POST\", \"HEAD\"]"),
        ("hosts = [\"*.example\"]", "hosts = [\"a.example\"]"),
        ("networks = [\"10.0.0.0/8\", \"::/0\"]", "networks = [\"10.1.0.0/16\", \"2001:db8::/32\"]"),
    ] {
        let words = "is never reached: rules[0] (first) matches all that it does";
        refused(&rules(first, second), "rules[1] (second)", words);
    }
    for (first, second) in [
        ("paths = [\"/a\"]", ""),
        ("paths = [\"/a\"]", "paths = [\"/a/**\"]"),
        ("paths = [\"/a/**\"]", "paths = [\"/a\", \"/b\"]"),
        ("methods = [\"GET\"]", "paths = [\"/a\"]"),
        ("methods = [\"HEAD\"]", "methods = [\"GET\"]"),
        ("hosts = [\"a.example\"]", "hosts = [\"*.example\"]"),
        ("hosts = [\"a.example\"]", ""),
        ("networks = [\"10.0.0.0/8\"]", ""),
        ("networks = [\"10.0.0.0/8\"]", "networks = [\"10.0.0.0/7\"]"),
    ] {
        Folder::with(&[("tenants/acme.toml", &rules(first, second))]).good();
    }
}
