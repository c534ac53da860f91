"""The simulated people: processes that know the gateway's address and Kafka's, and nothing else of clorad."""
