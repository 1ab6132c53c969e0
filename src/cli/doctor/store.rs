//! Redis as the session store: reached, let in, and set up to keep what it is given.

use super::Findings;
use crate::clock::Clock;
use crate::config::{RedisNode, RedisSettings};
use crate::error_chain::chain;
use crate::session::{ExamineError, RedisServer, Sessions, StoreError};

/// Looks at every master.
pub(super) async fn look(settings: &RedisSettings, findings: &mut Findings) {
    if settings.tls.is_none() && !settings.servers.nodes().iter().all(RedisNode::is_loopback) {
        let advice = "who listens there learns its password, and what users do: write rediss:// in sessions.redis_*";
        findings.warning("redis", "is reached over a network without TLS", advice);
    }
    match Sessions::examine_redis(settings, Clock::system()).await {
        Ok(servers) => servers.iter().for_each(|server| examined(server, findings)),
        Err(ExamineError::Store(error @ StoreError::Denied(_))) => {
            let advice = "give that user what docs/redis.md lists; mind that its keys begin with sessions.redis_prefix";
            findings.error("redis", chain(&error), advice);
        }
        Err(error) => {
            let advice = "is the address right, is it up, do its certificates name what it is called here, and does \
                          sessions.redis_ca_file hold the authority?";
            findings.error("redis", chain(&error), advice);
        }
    }
}

fn examined(server: &RedisServer, findings: &mut Findings) {
    let RedisServer { version, eviction, max_memory, used_memory, appends, replicas } = server;
    findings.ok("redis", format!("version {version} answers and lets us write; {replicas} replicas"));
    if eviction == "noeviction" {
        let bound =
            if *max_memory == 0 { String::new() } else { format!(", {used_memory} of {max_memory} bytes used") };
        findings.ok("redis", format!("maxmemory-policy noeviction{bound}"));
    } else {
        let advice = "it ends sessions of its own choice when it is full: set maxmemory-policy noeviction";
        findings.warning("redis", format!("maxmemory-policy is {eviction}"), advice);
    }
    if *max_memory > 0 && *used_memory > max_memory / 10 * 9 {
        findings.warning(
            "redis",
            format!("{used_memory} of {max_memory} bytes are used"),
            "raise maxmemory: once it is full, nobody can sign in",
        );
    }
    if *appends {
        findings.ok("redis", "appendonly yes");
    } else {
        findings.warning("redis", "appendonly is no", "a restart of Redis signs everybody out: set appendonly yes");
    }
    if *replicas == 0 {
        findings.warning(
            "redis",
            "has no replica",
            "when it dies, so do the sessions: add a replica and Sentinels, or a cluster, if that matters",
        );
    }
}
