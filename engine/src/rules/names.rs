//! Names that are unique over all shards: claimed first, confirmed once what they name exists.

use onrush_proto::{DocKey, Fact, NameCommand, NameRow, Receipt, RecordKind, Refusal, Row, Text};

use super::{Accepted, Context, Decision};
use crate::state::State;
use crate::tables::hash_of;

/// Longest time a claim may stand unconfirmed: one day in us.
const CLAIM_US_MAX: u64 = 24 * 3600 * 1_000_000;

/// True if the row keeps others away: confirmed, or claimed and not lapsed.
pub fn stands(row: &NameRow, now_us: u64) -> bool {
    !row.owner.is_empty() && (row.confirmed || row.deadline_us > now_us)
}

/// Claims, confirms or releases. Reading is not decided here.
pub fn decide(state: &State, context: &Context, command: &NameCommand) -> Decision {
    let name = *command.name();
    if name.as_str().split_once('/').is_none_or(|(space, rest)| space.is_empty() || rest.is_empty()) {
        return Err(Refusal::Invalid { field: "name", expected: "space/name" });
    }
    let standing = state.names.row(&name).filter(|row| stands(row, context.now_us));
    match command {
        NameCommand::Claim { owner, for_us, .. } => claim(context, name, standing, owner, *for_us),
        NameCommand::Confirm { owner, .. } => {
            let row = own(standing, owner)?;
            Ok(change(NameRow { confirmed: true, ..row.clone() }))
        }
        NameCommand::Release { owner, .. } => {
            own(standing, owner)?;
            Ok(change(NameRow { name, owner: Text::EMPTY, confirmed: false, deadline_us: 0 }))
        }
        NameCommand::Get { .. } => Err(Refusal::NotFound),
    }
}

fn claim(
    context: &Context,
    name: DocKey,
    standing: Option<&NameRow>,
    owner: &Text<63>,
    for_us: u64,
) -> Decision {
    if owner.is_empty() {
        return Err(Refusal::Invalid { field: "owner", expected: "1 to 63 bytes" });
    }
    if for_us == 0 || for_us > CLAIM_US_MAX {
        return Err(Refusal::Invalid { field: "for", expected: "1 us to 1 day" });
    }
    match standing {
        Some(row) if row.owner != *owner => Err(Refusal::NameTaken),
        Some(row) if row.confirmed => Ok(change(row.clone())),
        _ => {
            let deadline_us = context.now_us + for_us;
            Ok(change(NameRow { name, owner: *owner, confirmed: false, deadline_us }))
        }
    }
}

fn own<'a>(standing: Option<&'a NameRow>, owner: &Text<63>) -> Result<&'a NameRow, Refusal> {
    match standing {
        Some(row) if row.owner == *owner => Ok(row),
        Some(_) => Err(Refusal::NameTaken),
        None => Err(Refusal::NotFound),
    }
}

fn change(row: NameRow) -> Accepted {
    let receipt = Receipt::Name { confirmed: row.confirmed };
    let fact = Fact::new(RecordKind::NameChanged, hash_of(&row.name)).with(Row::Name(Box::new(row)));
    Accepted { fact, receipt }
}
