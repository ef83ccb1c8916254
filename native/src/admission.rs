//! A listener's admission control: src/admission.ts, for the network thread. When a limit is reached,
//! the oldest connection that is not authenticated yet, of the host with the most of them, is evicted, so
//! that one host cannot lock out others.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Limits of a listener; those per host do not apply to loopback addresses.
#[derive(Clone, Copy)]
pub struct AdmissionLimits {
    /// Connections, including those not authenticated yet.
    pub connections: usize,
    pub connections_per_host: usize,
    /// Connections that are not authenticated yet.
    pub pending: usize,
    pub pending_per_host: usize,
}

/// An IPv4 address, or an IPv6 /56, which is what providers assign to one customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Host {
    V4(Ipv4Addr),
    V6([u8; 7]),
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip),
            IpAddr::V6(ip) => {
                let mut prefix = [0; 7];
                prefix.copy_from_slice(&ip.octets()[..7]);
                Self::V6(prefix)
            }
        }
    }
}

#[derive(Default)]
struct Group {
    /// Connection numbers, oldest first.
    pending: BTreeMap<u64, u32>,
    authenticated: usize,
}

/// The connections of one listener.
pub struct Admission {
    limits: AdmissionLimits,
    groups: HashMap<Host, Group>,
    pending: usize,
    authenticated: usize,
    last_order: u64,
    /// JavaScript is notified when more are pending; it has a limit over several listeners.
    notify_above: usize,
    /// It was notified and has not asked for the count yet.
    notified: bool,
}

/// The result of `enter()`.
pub struct Entered {
    pub permit: Permit,
    /// The connection that is evicted for it, which is no longer counted.
    pub evicted: Option<u32>,
    /// JavaScript must be notified.
    pub notify: bool,
}

impl Admission {
    pub fn new(limits: AdmissionLimits) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            limits,
            groups: HashMap::new(),
            pending: 0,
            authenticated: 0,
            last_order: 0,
            notify_above: usize::MAX,
            notified: false,
        }))
    }

    /// Connections that are not authenticated yet.
    pub fn pending(this: &Arc<Mutex<Self>>) -> usize {
        lock(this).pending
    }

    /// As `pending()`, for JavaScript; re-arms the notification.
    pub fn take_pending(this: &Arc<Mutex<Self>>) -> usize {
        let mut admission = lock(this);
        admission.notified = false;
        admission.pending
    }

    /// Notifies JavaScript when more than `count` are pending.
    pub fn notify_above(this: &Arc<Mutex<Self>>, count: usize) {
        lock(this).notify_above = count;
    }

    /// The largest number of pending connections that any one host has.
    pub fn crowd(this: &Arc<Mutex<Self>>) -> usize {
        let admission = lock(this);
        let counts = admission.groups.values().map(|group| group.pending.len());
        counts.max().unwrap_or(0)
    }

    /// Picks the oldest pending connection of the host with the most and stops counting it.
    pub fn evict_oldest(this: &Arc<Mutex<Self>>) -> Option<u32> {
        let mut admission = lock(this);
        let (host, order) = admission.most_crowded(None)?;
        admission.remove_pending(host, order)
    }

    /// Counts connection number `id` from `ip`, which is not authenticated yet. `None`: a limit is reached
    /// and none can be evicted.
    pub fn enter(this: &Arc<Mutex<Self>>, ip: IpAddr, id: u32) -> Option<Entered> {
        let host = Host::from(ip);
        let mut admission = lock(this);
        let evicted = admission.make_room(host, ip.to_canonical().is_loopback())?;
        admission.last_order += 1;
        let order = admission.last_order;
        admission
            .groups
            .entry(host)
            .or_default()
            .pending
            .insert(order, id);
        admission.pending += 1;
        let notify = !admission.notified && admission.pending > admission.notify_above;
        admission.notified |= notify;
        let permit = Permit {
            admission: Arc::clone(this),
            host,
            order,
            authenticated: false,
        };
        Some(Entered {
            permit,
            evicted,
            notify,
        })
    }

    /// Picks the connection to evict: `Some(None)` if none need be, `None` if one must be but none can.
    fn make_room(&mut self, newcomer: Host, loopback: bool) -> Option<Option<u32>> {
        let full = !loopback && self.is_full(newcomer);
        let crowded = self.pending >= self.limits.pending
            || self.pending + self.authenticated >= self.limits.connections;
        if !full && !crowded {
            return Some(None);
        }
        let (host, order) = if full {
            let oldest = self.groups.get(&newcomer)?.pending.keys().next();
            (newcomer, *oldest?)
        } else {
            self.most_crowded(Some(newcomer))?
        };
        Some(self.remove_pending(host, order))
    }

    fn is_full(&self, host: Host) -> bool {
        self.groups.get(&host).is_some_and(|group| {
            group.pending.len() >= self.limits.pending_per_host
                || group.pending.len() + group.authenticated >= self.limits.connections_per_host
        })
    }

    /// The host with the most pending connections, counting one more of `newcomer`, and its oldest one.
    fn most_crowded(&self, newcomer: Option<Host>) -> Option<(Host, u64)> {
        self.groups
            .iter()
            .filter_map(|(&host, group)| {
                let (&oldest, _) = group.pending.first_key_value()?;
                Some((
                    group.pending.len() + usize::from(Some(host) == newcomer),
                    host,
                    oldest,
                ))
            })
            // Of several, the one whose oldest connection is older.
            .max_by(|(most, _, older), (count, _, oldest)| {
                most.cmp(count).then_with(|| oldest.cmp(older))
            })
            .map(|(_, host, oldest)| (host, oldest))
    }

    fn remove_pending(&mut self, host: Host, order: u64) -> Option<u32> {
        let id = self.groups.get_mut(&host)?.pending.remove(&order)?;
        self.pending -= 1;
        Some(id)
    }
}

/// Counts one connection until it is dropped.
pub struct Permit {
    admission: Arc<Mutex<Admission>>,
    host: Host,
    order: u64,
    authenticated: bool,
}

impl Permit {
    /// From now on it cannot be evicted.
    pub fn authenticated(&mut self) {
        let mut admission = lock(&self.admission);
        if admission.remove_pending(self.host, self.order).is_none() {
            return;
        }
        self.authenticated = true;
        admission.authenticated += 1;
        admission.groups.entry(self.host).or_default().authenticated += 1;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut admission = lock(&self.admission);
        admission.remove_pending(self.host, self.order);
        if self.authenticated {
            admission.authenticated -= 1;
        }
        if let Some(group) = admission.groups.get_mut(&self.host) {
            group.authenticated -= usize::from(self.authenticated);
            if group.authenticated == 0 && group.pending.is_empty() {
                admission.groups.remove(&self.host);
            }
        }
    }
}

fn lock(admission: &Mutex<Admission>) -> MutexGuard<'_, Admission> {
    admission.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: AdmissionLimits = AdmissionLimits {
        connections: 6,
        connections_per_host: 4,
        pending: 4,
        pending_per_host: 3,
    };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_host_that_is_full_loses_its_own_oldest() {
        let admission = Admission::new(LIMITS);
        let enter = |id| Admission::enter(&admission, ip("10.0.0.1"), id).unwrap();
        let permits: Vec<_> = (0..3).map(enter).collect();
        assert!(permits.iter().all(|entered| entered.evicted.is_none()));
        assert_eq!(enter(3).evicted, Some(0));
        assert_eq!(Admission::pending(&admission), 2, "the last one has left");
        drop(permits);
        assert_eq!(Admission::pending(&admission), 0);
        assert!(lock(&admission).groups.is_empty());
    }

    #[test]
    fn what_is_full_in_all_costs_the_host_that_has_most() {
        let admission = Admission::new(LIMITS);
        let enter = |host: &str, id| Admission::enter(&admission, ip(host), id).unwrap();
        let one = enter("10.0.0.1", 1);
        let _others = [
            enter("10.0.0.2", 2),
            enter("10.0.0.2", 3),
            enter("10.0.0.3", 4),
        ];
        let next = enter("10.0.0.1", 5);
        assert_eq!(next.evicted, Some(1), "two each: the oldest");
        let last = enter("10.0.0.4", 6);
        assert_eq!(last.evicted, Some(2));
        drop(one);
        assert_eq!(Admission::pending(&admission), 4);
    }

    #[test]
    fn who_is_authenticated_stays() {
        let admission = Admission::new(LIMITS);
        let mut permits: Vec<_> = (0..4)
            .map(|id| {
                let mut entered = Admission::enter(&admission, ip("10.0.0.1"), id).unwrap();
                entered.permit.authenticated();
                entered.permit
            })
            .collect();
        assert!(Admission::enter(&admission, ip("10.0.0.1"), 5).is_none());
        assert!(
            Admission::enter(&admission, ip("10.0.0.2"), 6)
                .unwrap()
                .evicted
                .is_none()
        );
        permits.pop();
        assert!(Admission::enter(&admission, ip("10.0.0.1"), 7).is_some());
    }

    #[test]
    fn more_than_asked_for_is_told_once_and_may_be_evicted() {
        let admission = Admission::new(LIMITS);
        Admission::notify_above(&admission, 1);
        let enter = |host: &str, id| Admission::enter(&admission, ip(host), id).unwrap();
        let entered = [
            enter("10.0.0.1", 1),
            enter("10.0.0.2", 2),
            enter("10.0.0.2", 3),
        ];
        assert_eq!(entered.each_ref().map(|it| it.notify), [false, true, false]);
        assert_eq!(Admission::crowd(&admission), 2);
        assert_eq!(Admission::evict_oldest(&admission), Some(2));
        assert_eq!(Admission::take_pending(&admission), 2);
        assert!(enter("10.0.0.3", 4).notify, "it has looked");
    }

    #[test]
    fn loopback_has_no_limit_of_its_own() {
        let admission = Admission::new(LIMITS);
        let mut permits = Vec::new();
        for id in 0..6 {
            let mut entered = Admission::enter(&admission, ip("127.0.0.1"), id).unwrap();
            entered.permit.authenticated();
            permits.push(entered.permit);
        }
        assert!(
            Admission::enter(&admission, ip("127.0.0.1"), 7).is_none(),
            "in all"
        );
    }

    #[test]
    fn hosts() {
        assert_eq!(
            Host::from(ip("::ffff:10.0.0.1")),
            Host::from(ip("10.0.0.1"))
        );
        assert_eq!(
            Host::from(ip("2001:db8:0:ff::1")),
            Host::from(ip("2001:db8:0:1::"))
        );
        assert_ne!(
            Host::from(ip("2001:db8:0:100::1")),
            Host::from(ip("2001:db8:0:1::"))
        );
    }
}
