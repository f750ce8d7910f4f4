//! Shards, rules, published views, subscriptions and hosts. Embeddable: no sockets.
