//! What crosses a boundary: ids, money, commands, outcomes, refusals, rows and facts.
