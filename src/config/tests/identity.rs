//! The rules of `[identity]` and `cookie_domain`.

use super::*;

fn names(identity: &IdentitySettings) -> Vec<(&str, &IdentityValue)> {
    identity.headers.iter().map(|(name, value)| (name.as_str(), value)).collect()
}

#[test]
fn identity_headers_have_their_names_and_the_tenants_own() {
    let written = "[identity]\ngroups_claim = \"https://acme.example/groups\"\naccess_token = true\n\
                   authorization = \"id_token\"\n[identity.headers]\nX-Roles = \"https://acme.example/roles\"\n";
    let folder = Folder::with(&[("tenants/a.toml", &format!("{ACME}{written}"))]);
    let tenant = folder.good().tenants.remove(0);
    let headers = names(&tenant.identity);
    let claim = |name: &str| IdentityValue::Claim(name.to_owned());
    for (name, value) in [
        ("x-auth-request-user", IdentityValue::Subject),
        ("x-forwarded-email", IdentityValue::Email),
        ("x-auth-request-groups", claim("https://acme.example/groups")),
        ("x-forwarded-groups", claim("https://acme.example/groups")),
        ("x-auth-request-access-token", IdentityValue::AccessToken),
        ("authorization", IdentityValue::BearerIdToken),
        ("x-roles", claim("https://acme.example/roles")),
    ] {
        assert!(headers.contains(&(name, &value)), "{name}: {headers:?}");
    }
    let plain = Folder::with(&[("tenants/a.toml", ACME)]).good().tenants.remove(0);
    assert!(plain.identity.is_usual() && !tenant.identity.is_usual());
    let headers = names(&plain.identity);
    assert!(headers.contains(&("x-auth-request-access-token", &IdentityValue::Nothing)), "{headers:?}");
    assert!(headers.contains(&("x-auth-request-groups", &claim("groups"))), "{headers:?}");
    assert!(!headers.iter().any(|(name, _)| *name == "authorization"), "{headers:?}");
}

#[test]
fn a_claim_takes_no_name_that_means_something_else() {
    for name in ["Connection", "Cookie", "Authorization", "X-Auth-Request-User", "Content-Length"] {
        let key = format!("identity.headers.{name}");
        refused(&format!("{ACME}[identity.headers]\n{name} = \"roles\"\n"), &key, "has a meaning of its own");
    }
    refused(&format!("{ACME}[identity.headers]\nX_Roles = \"roles\"\n"), "identity.headers.X_Roles", "letters, digits");
    let twice = "[identity.headers]\nX-Roles = \"roles\"\nx-roles = \"roles\"\n";
    refused(&format!("{ACME}{twice}"), "identity.headers.x-roles", "stands twice");
    refused(&format!("{ACME}[identity]\nauthorization = \"basic\"\n"), "identity.authorization", "is not known");
}

#[test]
fn a_cookie_domain_takes_in_every_host_where_one_signs_in() {
    let with = |settings: &str, tenant: &str| {
        let tenant = format!("{ACME}cookie_domain = {tenant}");
        Folder::with(&[("lychgate.toml", settings), ("tenants/acme.toml", &tenant)])
    };
    let public = "public_url = \"https://login.acme.example\"\n";
    for (settings, tenant) in [
        (public, "\"acme.example\"\n"),
        (public, "\"login.acme.example\"\n"),
        ("", "\"Acme.example\"\nhosts = [\"login.acme.example\", \"acme.example\"]\n"),
        ("public_url = \"https://login.example.com\"\n", "\"acme.example\"\nhosts = [\"login.acme.example\"]\n"),
    ] {
        let tenant = with(settings, tenant).good().tenants.remove(0);
        assert!(tenant.cookie_domain_at("login.acme.example").is_some());
        assert_eq!(tenant.cookie_domain_at("evilacme.example"), None);
    }
    for (settings, tenant, words) in [
        (public, "\"example\"\n", "is no domain of your own"),
        (public, "\".acme.example\"\n", "is not a host name"),
        (public, "\"app.acme.example\"\n", "does not take in login.acme.example"),
        (public, "\"n.acme.example\"\n", "does not take in login.acme.example"),
        (public, "\"acme.example\"\nhosts = [\"login.globex.example\"]\n", "does not take in login.globex.example"),
        ("", "\"acme.example\"\n", "needs https"),
        ("", "\"app.localhost\"\n", "is no domain of your own"),
    ] {
        let faults = with(settings, tenant).faults();
        let said: Vec<String> = faults.iter().map(Fault::to_string).collect();
        assert!(said.len() == 1 && said[0].contains(words) && faults[0].key == "cookie_domain", "{tenant}: {said:?}");
    }
}
