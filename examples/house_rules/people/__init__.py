"""The simulated people: processes that know the addresses of the gateway and of Kafka, and nothing else."""
