//! Who a listener lets in: src/admission.ts, for the network thread. What is full makes room at the
//! cost of a connection that is not authenticated yet, the oldest of the host that has most of them,
//! so that one host cannot shut out another.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bounds of one listener; those of one host do not hold for loopback.
#[derive(Clone, Copy)]
pub struct AdmissionLimits {
    /// Connections, those that are not authenticated yet among them.
    pub connections: usize,
    pub connections_per_host: usize,
    /// Connections that are not authenticated yet.
    pub pending: usize,
    pub pending_per_host: usize,
}

/// An IPv4 address, or an IPv6 /56, which is what one customer gets.
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
    /// Numbers of connections, the oldest first.
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
    /// JavaScript wants to know when more are pending; it counts several listeners together.
    tell_above: usize,
    /// It was told and has not looked since.
    told: bool,
}

/// Who was let in.
pub struct Entered {
    pub guest: Guest,
    /// The connection that has to go instead. It is not counted any more.
    pub evicted: Option<u32>,
    /// JavaScript is to be told.
    pub tell: bool,
}

impl Admission {
    pub fn new(limits: AdmissionLimits) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            limits,
            groups: HashMap::new(),
            pending: 0,
            authenticated: 0,
            last_order: 0,
            tell_above: usize::MAX,
            told: false,
        }))
    }

    /// Connections that are not authenticated yet.
    pub fn pending(this: &Arc<Mutex<Self>>) -> usize {
        lock(this).pending
    }

    /// Connections that are not authenticated yet, for JavaScript, which may be told again.
    pub fn take_pending(this: &Arc<Mutex<Self>>) -> usize {
        let mut admission = lock(this);
        admission.told = false;
        admission.pending
    }

    /// Has JavaScript told when more than `count` are pending.
    pub fn tell_above(this: &Arc<Mutex<Self>>, count: usize) {
        lock(this).tell_above = count;
    }

    /// How many of them one host has, at most.
    pub fn crowd(this: &Arc<Mutex<Self>>) -> usize {
        let admission = lock(this);
        let counts = admission.groups.values().map(|group| group.pending.len());
        counts.max().unwrap_or(0)
    }

    /// Who has to go, of the host that has most of them; it is not counted any more.
    pub fn evict_oldest(this: &Arc<Mutex<Self>>) -> Option<u32> {
        let mut admission = lock(this);
        let (host, order) = admission.most_crowded(None)?;
        admission.remove_pending(host, order)
    }

    /// Counts connection number `id` from `ip`, which is not authenticated yet. `None`: there is no
    /// room, and nobody can be evicted.
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
        let tell = !admission.told && admission.pending > admission.tell_above;
        admission.told |= tell;
        let guest = Guest {
            admission: Arc::clone(this),
            host,
            order,
            authenticated: false,
        };
        Some(Entered {
            guest,
            evicted,
            tell,
        })
    }

    /// Who has to go, if anybody; `None`: somebody has to, and nobody can.
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

    /// Whose oldest connection has to go when one more of `newcomer` is to come in.
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
            // Of several, the one with the oldest.
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

/// One connection that is counted, until it is dropped.
pub struct Guest {
    admission: Arc<Mutex<Admission>>,
    host: Host,
    order: u64,
    authenticated: bool,
}

impl Guest {
    /// It is not evicted any more.
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

impl Drop for Guest {
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
        let guests: Vec<_> = (0..3).map(enter).collect();
        assert!(guests.iter().all(|entered| entered.evicted.is_none()));
        assert_eq!(enter(3).evicted, Some(0));
        assert_eq!(Admission::pending(&admission), 2, "the last one has left");
        drop(guests);
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
        let mut guests: Vec<_> = (0..4)
            .map(|id| {
                let mut entered = Admission::enter(&admission, ip("10.0.0.1"), id).unwrap();
                entered.guest.authenticated();
                entered.guest
            })
            .collect();
        assert!(Admission::enter(&admission, ip("10.0.0.1"), 5).is_none());
        assert!(
            Admission::enter(&admission, ip("10.0.0.2"), 6)
                .unwrap()
                .evicted
                .is_none()
        );
        guests.pop();
        assert!(Admission::enter(&admission, ip("10.0.0.1"), 7).is_some());
    }

    #[test]
    fn more_than_asked_for_is_told_once_and_may_be_evicted() {
        let admission = Admission::new(LIMITS);
        Admission::tell_above(&admission, 1);
        let enter = |host: &str, id| Admission::enter(&admission, ip(host), id).unwrap();
        let entered = [
            enter("10.0.0.1", 1),
            enter("10.0.0.2", 2),
            enter("10.0.0.2", 3),
        ];
        assert_eq!(entered.each_ref().map(|it| it.tell), [false, true, false]);
        assert_eq!(Admission::crowd(&admission), 2);
        assert_eq!(Admission::evict_oldest(&admission), Some(2));
        assert_eq!(Admission::take_pending(&admission), 2);
        assert!(enter("10.0.0.3", 4).tell, "it has looked");
    }

    #[test]
    fn loopback_has_no_limit_of_its_own() {
        let admission = Admission::new(LIMITS);
        let mut guests = Vec::new();
        for id in 0..6 {
            let mut entered = Admission::enter(&admission, ip("127.0.0.1"), id).unwrap();
            entered.guest.authenticated();
            guests.push(entered.guest);
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
