//! Which member arbitrates an action: highest random weight (Thaler and Ravishankar, 1998).
//!
//! What always holds: two nodes with the same members agree, in any order of the members; when
//! one member goes, only the actions it arbitrated move.

use std::cmp::Reverse;

use crate::identity::{ActionId, Origin, tagged};

/// The members in the order in which they may arbitrate the action; the first one does.
pub fn rendezvous(action: &ActionId, members: impl IntoIterator<Item = Origin>) -> Vec<Origin> {
    let mut order: Vec<Origin> = members.into_iter().collect();
    order.sort_by_cached_key(|member| (Reverse(weight(action, member)), *member));
    order.dedup();
    order
}

/// The first of [`rendezvous`], without making the rest.
pub fn first(action: &ActionId, members: impl IntoIterator<Item = Origin>) -> Option<Origin> {
    members.into_iter().max_by_key(|member| (weight(action, member), Reverse(*member)))
}

fn weight(action: &ActionId, member: &Origin) -> [u8; 32] {
    tagged("artdag/arbiter/1", &[&action.0, &member.0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(n: u8) -> Vec<Origin> {
        (0..n).map(|i| Origin([i; 32])).collect()
    }

    #[test]
    fn the_order_of_members_does_not_matter() {
        let action = ActionId([7; 32]);
        let mut backwards = members(9);
        backwards.reverse();
        assert_eq!(rendezvous(&action, members(9)), rendezvous(&action, backwards));
    }

    #[test]
    fn only_the_actions_of_a_member_that_left_move() {
        for n in 0..=255 {
            let action = ActionId([n; 32]);
            let all = rendezvous(&action, members(5));
            assert_eq!(first(&action, members(5)), Some(all[0]));
            let gone = Origin([2; 32]);
            let left: Vec<Origin> = members(5).into_iter().filter(|m| *m != gone).collect();
            let expected: Vec<Origin> = all.into_iter().filter(|m| *m != gone).collect();
            assert_eq!(rendezvous(&action, left), expected);
        }
    }

    #[test]
    fn every_member_gets_a_share() {
        let mut shares = [0; 5];
        for n in 0..2_000_u32 {
            let action = ActionId(tagged("test", &[&n.to_le_bytes()]));
            let chosen = first(&action, members(5)).expect("there are members");
            shares[usize::from(chosen.0[0])] += 1;
        }
        assert!(shares.iter().all(|share| (300..500).contains(share)), "{shares:?}");
    }
}
