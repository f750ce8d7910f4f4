//! Variables of servers that the engine replaces: accepted, and nothing is connected.

/// The variables, each with the role that the engine has.
const REPLACED: [(&str, &str); 6] = [
    ("MONGO_URI", "keeps users and products"),
    ("MONGO_DB", "keeps users and products"),
    ("POSTGRES_URL", "keeps orders and payments"),
    ("REDIS_URL", "keeps stock and answers reads"),
    ("KAFKA_BROKERS", "is the event stream"),
    ("RABBITMQ_URL", "hands out work"),
];

/// What an operator should know of variables that do nothing. Their values may hold passwords and are
/// not shown.
pub(super) fn notices(env: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let set = REPLACED.into_iter().filter(|(name, _)| env(name).is_some_and(|text| !text.is_empty()));
    set.map(|(name, role)| format!("{name} is set and does nothing: the engine itself {role}")).collect()
}
