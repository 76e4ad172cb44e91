//! VirtualServices: where they lead, whom they are for, and which of their rules are ever reached.

mod conflicts;
mod destinations;
mod gateways;
mod matches;

pub(super) use destinations::destinations;

use super::index::Index;
use super::view::Found;

pub(super) fn look(index: &Index<'_>, found: &mut Found<'_>) {
    destinations(index, found);
    destinations::unaffected_at_gateways(index, found);
    destinations::opaque_hosts(index, found);
    gateways::look(index, found);
    gateways::tokens(index, found);
    conflicts::look(index, found);
    matches::look(found);
    super::bypass::between_services(index, found);
}
