"""The ledger: the database in which all roles store what must survive a crash."""
