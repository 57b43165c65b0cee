//! Who may connect, by address.

use std::net::IpAddr;
use std::str::FromStr;

/// A rule about the addresses of clients: `allow all`, `deny 10.1.0.0/16`, `allow 192.168.1.7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessRule {
    allows: bool,
    /// Nothing for all.
    network: Option<Network>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix_bits: u32,
}

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected `allow` or `deny` with `all`, an address or a network such as `10.0.0.0/8`, got `{0}`")]
pub struct AccessRuleError(String);

impl AccessRule {
    /// Lets everybody in.
    pub const ALLOW_ALL: Self = Self { allows: true, network: None };

    fn names(&self, address: IpAddr) -> bool {
        self.network.is_none_or(|network| network.contains(address))
    }
}

/// Says whether an address may connect: the first rule that names it decides, and without one it may not.
pub(crate) fn allows(rules: &[AccessRule], address: IpAddr) -> bool {
    // an IPv4 client of an IPv6 socket is still an IPv4 client
    let address = address.to_canonical();
    rules.iter().find(|rule| rule.names(address)).is_some_and(|rule| rule.allows)
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - self.prefix_bits;
                shift == 32 || own.to_bits() >> shift == other.to_bits() >> shift
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - self.prefix_bits;
                shift == 128 || own.to_bits() >> shift == other.to_bits() >> shift
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for AccessRule {
    type Err = AccessRuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || AccessRuleError(text.to_owned());
        let (verdict, who) = text.trim().split_once(char::is_whitespace).ok_or_else(error)?;
        let allows = match verdict {
            "allow" => true,
            "deny" => false,
            _ => return Err(error()),
        };
        let who = who.trim();
        if who == "all" {
            return Ok(Self { allows, network: None });
        }
        let (address, bits) = match who.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().map_err(|_| error())?)),
            None => (who, None),
        };
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let widest = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = bits.unwrap_or(widest);
        if prefix_bits > widest {
            return Err(error());
        }
        Ok(Self { allows, network: Some(Network { address, prefix_bits }) })
    }
}

impl std::fmt::Display for AccessRule {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(if self.allows { "allow " } else { "deny " })?;
        match self.network {
            None => formatter.write_str("all"),
            Some(Network { address, prefix_bits }) => write!(formatter, "{address}/{prefix_bits}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rules: &[&str], address: &str, allowed: bool) {
        let rules: Vec<AccessRule> = rules.iter().map(|rule| rule.parse().expect("a rule")).collect();
        assert_eq!(allows(&rules, address.parse().expect("an address")), allowed, "{rules:?} {address}");
    }

    #[test]
    fn the_first_rule_decides() {
        check(&["allow all"], "10.0.0.1", true);
        check(&["deny all"], "10.0.0.1", false);
        check(&[], "10.0.0.1", false);
        check(&["allow 10.0.0.0/8"], "10.255.0.1", true);
        check(&["allow 10.0.0.0/8"], "11.0.0.1", false);
        check(&["deny 10.0.0.7", "allow all"], "10.0.0.7", false);
        check(&["deny 10.0.0.7", "allow all"], "10.0.0.8", true);
        check(&["deny 0.0.0.0/0", "allow all"], "1.2.3.4", false);
        check(&["deny 0.0.0.0/0", "allow all"], "::1", true);
        check(&["allow fd00::/8"], "fd12::1", true);
        check(&["allow ::/0"], "fe80::1", true);
        check(&["allow 127.0.0.0/8"], "::ffff:127.0.0.1", true);
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in
            ["", "allow", "permit all", "allow 10.0.0.0/33", "allow 10.0.0/8", "allow x", "deny ::/129"]
        {
            assert!(text.parse::<AccessRule>().is_err(), "{text}");
        }
        assert_eq!("deny  10.0.0.0/8".parse::<AccessRule>().unwrap().to_string(), "deny 10.0.0.0/8");
    }
}
