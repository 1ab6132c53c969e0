//! What only shows when tenants are seen together: hosts, clients and APIs that no two of them may share.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher as _};

use super::{Fault, TenantSettings};

/// Finds whom a tenant may clash with, so that not everybody is compared with everybody: among thousands that is nobody
/// or a few, also where all of them are organizations of one client.
#[derive(Debug, Default)]
pub struct Claims {
    /// Who makes each claim. A claim is a hash: two that share one by chance cost a comparison and nothing else.
    made: HashMap<u64, Vec<usize>>,
}

impl Claims {
    /// The numbers of those whom `tenant` may clash with; with nobody else it does.
    pub fn rivals(&self, tenant: &TenantSettings) -> BTreeSet<usize> {
        let mut rivals = BTreeSet::new();
        for (thing, organizations) in things(tenant) {
            // Who takes all of a thing bears nobody beside it; who takes a part, nobody with all or with the same part.
            let taken = if organizations.is_empty() { vec![Part::Any] } else { parts(organizations) };
            let whole = (!organizations.is_empty()).then_some(Part::Whole);
            for part in taken.into_iter().chain(whole) {
                rivals.extend(self.made.get(&hash(&(&thing, part))).into_iter().flatten());
            }
        }
        rivals
    }

    /// From now on `tenant` is found, under this number.
    pub fn add(&mut self, number: usize, tenant: &TenantSettings) {
        for (thing, organizations) in things(tenant) {
            let taken = if organizations.is_empty() { vec![Part::Whole] } else { parts(organizations) };
            for part in taken.into_iter().chain([Part::Any]) {
                self.made.entry(hash(&(&thing, part))).or_default().push(number);
            }
        }
    }
}

/// What no two tenants may have both.
#[derive(Hash)]
enum Thing<'a> {
    Host(&'a str),
    Api { issuer: &'a str, audience: &'a str },
    Client { issuer: &'a str, id: &'a str },
}

/// How much of it: organizations part clients and APIs.
#[derive(Hash)]
enum Part {
    Whole,
    Of(String),
    /// Whichever: every tenant that has the thing is found under this.
    Any,
}

/// What `tenant` has, and for which organizations: none is for everybody.
fn things(tenant: &TenantSettings) -> impl Iterator<Item = (Thing<'_>, &[String])> {
    let (issuer, organizations) = (tenant.provider.issuer.as_str(), tenant.sign_in.organizations.as_slice());
    let hosts = tenant.hosts.iter().map(|host| (Thing::Host(host), &[][..]));
    let apis = tenant.api.audiences.iter().map(move |audience| (Thing::Api { issuer, audience }, organizations));
    let client = (Thing::Client { issuer, id: &tenant.provider.client_id }, organizations);
    hosts.chain(apis).chain([client])
}

fn parts(organizations: &[String]) -> Vec<Part> {
    organizations.iter().map(|organization| Part::Of(canonical(organization))).collect()
}

fn hash(claim: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    claim.hash(&mut hasher);
    hasher.finish()
}

/// Why a tenant cannot be served beside another one: faults of the first one's file.
pub fn between(tenant: (&str, &TenantSettings), other: (&str, &TenantSettings)) -> Vec<Fault> {
    let ((file, tenant), (other_file, other)) = (tenant, other);
    let mut faults = Vec::new();
    let mut fault = |key: &str, reason: String, help: &str| {
        faults.push(Fault { file: file.to_owned(), key: key.to_owned(), reason, help: Some(help.to_owned()) });
    };
    if let Some(host) = tenant.hosts.iter().find(|host| other.hosts.contains(host)) {
        fault("hosts", format!("{host} is also a host of {other_file}"), "give each host to one tenant");
    }
    if tenant.provider.issuer != other.provider.issuer {
        return faults;
    }
    let same_client = tenant.provider.client_id == other.provider.client_id;
    let same_api = tenant.api.audiences.iter().any(|audience| other.api.audiences.contains(audience));
    if (same_client || same_api) && told_apart(tenant, other) {
        return faults;
    }
    if same_api {
        let reason = format!("an API of the same issuer is also one of {other_file}: its tokens would pass at both");
        let help = "give each API to one tenant, or set `organizations` in both, with none in both";
        fault("api.audiences", reason, help);
    }
    if same_client {
        let reason = format!("issuer and client_id are also those of {other_file}, and nothing tells the two apart");
        let help = "set `organization` or `organizations` in both, with no organization in both";
        fault("organization", reason, help);
    }
    faults
}

/// Whether organizations keep the users of two tenants apart that are one client of one provider.
fn told_apart(one: &TenantSettings, other: &TenantSettings) -> bool {
    let [one, other] = [one, other].map(|tenant| {
        tenant.sign_in.organizations.iter().map(|organization| canonical(organization)).collect::<Vec<_>>()
    });
    !one.is_empty() && !other.is_empty() && !one.iter().any(|organization| other.contains(organization))
}

/// The name of an organization, or its id, as it is compared in id tokens: `Acme` is `acme`.
fn canonical(organization: &str) -> String {
    organization.to_lowercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};

    use super::*;

    fn tenants() -> impl Strategy<Value = TenantSettings> {
        let some = |of: &'static [&'static str]| subsequence(of.to_vec(), 0..=of.len());
        let (issuers, clients) = (select(vec!["https://a.example/", "https://b.example/"]), select(vec!["one", "two"]));
        let lists = (some(&["x.example", "y.example"]), some(&["api", "other"]), some(&["acme", "Acme", "globex"]));
        (issuers, clients, lists).prop_map(|(issuer, client, (hosts, audiences, organizations))| {
            let texts = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect();
            let mut tenant = TenantSettings::least("acme".parse().unwrap(), issuer, client, "hush".into());
            tenant.hosts = texts(hosts);
            tenant.api.audiences = texts(audiences);
            tenant.sign_in.organizations = texts(organizations);
            tenant
        })
    }

    proptest! {
        #[test]
        fn who_clashes_with_somebody_is_their_rival_and_nobody_else_is(one in tenants(), other in tenants()) {
            let mut claims = Claims::default();
            claims.add(7, &one);
            let clash = !between(("other", &other), ("one", &one)).is_empty();
            prop_assert_eq!(claims.rivals(&other).contains(&7), clash);
        }
    }

    #[test]
    fn organizations_of_one_client_are_nobodys_rivals() {
        let mut claims = Claims::default();
        for number in 0..1000 {
            let mut tenant =
                TenantSettings::least("acme".parse().unwrap(), "https://a.example/", "client", "hush".into());
            tenant.api.audiences = vec!["api".to_owned()];
            tenant.sign_in.organizations = vec![format!("org_{number}")];
            assert_eq!(claims.rivals(&tenant), BTreeSet::new());
            claims.add(number, &tenant);
        }
    }
}
