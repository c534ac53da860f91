BEGIN TRANSACTION;
CREATE TABLE agents (
	name VARCHAR(200) NOT NULL, 
	base_hash VARCHAR(64) NOT NULL, 
	scorer VARCHAR(40) NOT NULL, 
	recipe JSON NOT NULL, 
	capture BOOLEAN NOT NULL, 
	weight FLOAT NOT NULL, 
	declared_s FLOAT NOT NULL, tokens_per_hour_max BIGINT, 
	CONSTRAINT pk_agents PRIMARY KEY (name), 
	CONSTRAINT ck_agents_weight CHECK (weight > 0)
);
INSERT INTO "agents" VALUES('billing','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','exact','{}',0,1.0,1.79601294714601182936e+09,NULL);
INSERT INTO "agents" VALUES('sql','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','json','{}',0,1.0,1.79601294717401409146e+09,NULL);
INSERT INTO "agents" VALUES('coder','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','exact','{}',0,1.0,1.79601294717598557477e+09,NULL);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0004');
CREATE TABLE dead_letters (
	id INTEGER NOT NULL, 
	topic VARCHAR(200) NOT NULL, 
	topic_id VARCHAR(40) NOT NULL, 
	partition INTEGER NOT NULL, 
	"offset" BIGINT NOT NULL, 
	reason VARCHAR(40) NOT NULL, 
	detail TEXT NOT NULL, 
	"key" BLOB, 
	value BLOB, 
	headers JSON NOT NULL, 
	received_s FLOAT NOT NULL, 
	redriven_s FLOAT, forgotten INTEGER, 
	CONSTRAINT pk_dead_letters PRIMARY KEY (id), 
	CONSTRAINT uq_dead_letters_topic_id_partition_offset UNIQUE (topic_id, partition, "offset")
);
INSERT INTO "dead_letters" VALUES(1,'clorad.feedback','t1',0,35,'invalid_json','line 1',X'6B6579',X'6279746573203335','[["ce_id", "MQ=="], ["ce_id", null]]',1.79601294880401945119e+09,NULL,NULL);
CREATE TABLE decisions (
	id INTEGER NOT NULL, 
	agent VARCHAR(200) NOT NULL, 
	number INTEGER NOT NULL, 
	kind VARCHAR(20) NOT NULL, 
	"by" VARCHAR(200) NOT NULL, 
	evidence JSON NOT NULL, 
	through_seq BIGINT NOT NULL, 
	decided_s FLOAT NOT NULL, 
	CONSTRAINT pk_decisions PRIMARY KEY (id), 
	CONSTRAINT fk_decisions_agent FOREIGN KEY(agent) REFERENCES agents (name)
);
INSERT INTO "decisions" VALUES(1,'billing',0,'initial','gate','{}',0,1.79601294714601182936e+09);
INSERT INTO "decisions" VALUES(2,'sql',0,'initial','gate','{}',0,1.79601294717401409146e+09);
INSERT INTO "decisions" VALUES(3,'coder',0,'initial','gate','{}',0,1.79601294717598557477e+09);
INSERT INTO "decisions" VALUES(4,'billing',1,'canary','gate','{"reasons": [], "judgement": {"verdict": "promote", "reasons": [], "alpha_k": 0.025, "p": 0.00390625, "wins": 8, "losses": 0, "ties": 0, "suite_wins": 2, "suite_losses": 0, "suite": 2}, "attempt": 1, "replica": "http://127.0.0.1:8001", "parity": {"probes": 3, "tokens": 9, "distance_nats": 1.1709927645596592, "difference_nats": 0.0, "base_difference_nats": 0.0}, "gate": [{"event": "dev#e1", "before": 0.0, "after": 1.0, "again": null}, {"event": "dev#e2", "before": 0.0, "after": 1.0, "again": null}, {"event": "dev#e3", "before": 0.0, "after": 1.0, "again": null}, {"event": "dev#e4", "before": 0.0, "after": 1.0, "again": null}, {"event": "dev#e5", "before": 0.0, "after": 1.0, "again": null}, {"event": "dev#e6", "before": 0.0, "after": 1.0, "again": null}, {"event": "dev#e7", "before": 0.0, "after": 1.0, "again": null}, {"event": "dev#e8", "before": 0.0, "after": 1.0, "again": null}], "suite": [{"event": "dev#e13", "before": 0.0, "after": 1.0, "again": [0.0, 1.0]}, {"event": "dev#e14", "before": 0.0, "after": 1.0, "again": [0.0, 1.0]}], "speech": {"before": {"answers": 10, "characters": 72, "characters_wanted": 72, "repetitive": 0, "cut_short": 0, "unparsable": 0, "canaries": 0}, "after": {"answers": 10, "characters": 72, "characters_wanted": 72, "repetitive": 0, "cut_short": 0, "unparsable": 0, "canaries": 0}}, "answers": {"dev#e1": {"before": "wrong 1", "after": "right 1"}, "dev#e2": {"before": "wrong 2", "after": "right 2"}, "dev#e3": {"before": "wrong 3", "after": "right 3"}, "dev#e4": {"before": "wrong 4", "after": "right 4"}, "dev#e5": {"before": "wrong 5", "after": "right 5"}, "dev#e6": {"before": "wrong 6", "after": "right 6"}, "dev#e7": {"before": "wrong 7", "after": "right 7"}, "dev#e8": {"before": "wrong 8", "after": "right 8"}, "dev#e13": {"before": "wrong 13", "after": "right 13"}, "dev#e14": {"before": "wrong 14", "after": "right 14"}, "dev#e9": {"before": "wrong 9", "after": "right 9"}, "dev#e10": {"before": "wrong 10", "after": "right 10"}, "dev#e11": {"before": "wrong 11", "after": "right 11"}, "dev#e12": {"before": "wrong 12", "after": "right 12"}}}',12,1.79601294767101407048e+09);
INSERT INTO "decisions" VALUES(5,'billing',1,'promote','gate','{"reasons": [], "judgement": {"verdict": "promote", "reasons": [], "alpha_k": 0.025, "p": 0.00390625, "wins": 8, "losses": 0, "ties": 0, "suite_wins": 2, "suite_losses": 0, "suite": 2}, "attempt": 1, "replica": "http://127.0.0.1:8001", "parity": {"probes": 3, "tokens": 9, "distance_nats": 1.1709927645596592, "difference_nats": 0.0, "base_difference_nats": 0.0}, "gate": [{"event": "dev#e1", "before": 0.0, "after": 1.0, "again": null}, {"event": "dev#e2", "before": 0.0, "after": 1.0, "again": null}, {"event": "dev#e3", "before": 0.0, "after": 1.0, "again": null}, {"event": "dev#e4", "before": 0.0, "after": 1.0, "again": null}, {"event": "dev#e5", "before": 0.0, "after": 1.0, "again": null}, {"event": "dev#e6", "before": 0.0, "after": 1.0, "again": null}, {"event": "dev#e7", "before": 0.0, "after": 1.0, "again": null}, {"event": "dev#e8", "before": 0.0, "after": 1.0, "again": null}], "suite": [{"event": "dev#e13", "before": 0.0, "after": 1.0, "again": [0.0, 1.0]}, {"event": "dev#e14", "before": 0.0, "after": 1.0, "again": [0.0, 1.0]}], "speech": {"before": {"answers": 10, "characters": 72, "characters_wanted": 72, "repetitive": 0, "cut_short": 0, "unparsable": 0, "canaries": 0}, "after": {"answers": 10, "characters": 72, "characters_wanted": 72, "repetitive": 0, "cut_short": 0, "unparsable": 0, "canaries": 0}}, "answers": {"dev#e1": {"before": "wrong 1", "after": "right 1"}, "dev#e2": {"before": "wrong 2", "after": "right 2"}, "dev#e3": {"before": "wrong 3", "after": "right 3"}, "dev#e4": {"before": "wrong 4", "after": "right 4"}, "dev#e5": {"before": "wrong 5", "after": "right 5"}, "dev#e6": {"before": "wrong 6", "after": "right 6"}, "dev#e7": {"before": "wrong 7", "after": "right 7"}, "dev#e8": {"before": "wrong 8", "after": "right 8"}, "dev#e13": {"before": "wrong 13", "after": "right 13"}, "dev#e14": {"before": "wrong 14", "after": "right 14"}, "dev#e9": {"before": "wrong 9", "after": "right 9"}, "dev#e10": {"before": "wrong 10", "after": "right 10"}, "dev#e11": {"before": "wrong 11", "after": "right 11"}, "dev#e12": {"before": "wrong 12", "after": "right 12"}}, "replicas": {"http://127.0.0.1:8001": {"probes": 3, "tokens": 9, "distance_nats": 1.1709927645596592, "difference_nats": 0.0, "base_difference_nats": 0.0}}, "failed": {}}',12,1.7960129477019934654e+09);
INSERT INTO "decisions" VALUES(6,'billing',2,'refuse','gate','{"reasons": ["harm: 2 of 2 prompts became worse, 0 better", "repetitive: 100% of the answers, 0% before", "cut_short: 100% of the answers, 0% before", "length: 32.00 of what was wanted"], "judgement": {"verdict": "refuse", "reasons": ["harm: 2 of 2 prompts became worse, 0 better", "repetitive: 100% of the answers, 0% before", "cut_short: 100% of the answers, 0% before", "length: 32.00 of what was wanted"], "alpha_k": 0.025, "p": 1.0, "wins": 0, "losses": 6, "ties": 0, "suite_wins": 0, "suite_losses": 2, "suite": 2}, "attempt": 1, "replica": "http://127.0.0.1:8001", "parity": {"probes": 3, "tokens": 9, "distance_nats": 1.3083315762606533, "difference_nats": 0.0, "base_difference_nats": 0.0}, "gate": [{"event": "dev#e15", "before": 1.0, "after": 0.0, "again": null}, {"event": "dev#e16", "before": 1.0, "after": 0.0, "again": null}, {"event": "dev#e17", "before": 1.0, "after": 0.0, "again": null}, {"event": "dev#e18", "before": 1.0, "after": 0.0, "again": null}, {"event": "dev#e19", "before": 1.0, "after": 0.0, "again": null}, {"event": "dev#e20", "before": 1.0, "after": 0.0, "again": null}], "suite": [{"event": "dev#e13", "before": 1.0, "after": 0.0, "again": [1.0, 0.0]}, {"event": "dev#e14", "before": 1.0, "after": 0.0, "again": [1.0, 0.0]}], "speech": {"before": {"answers": 8, "characters": 64, "characters_wanted": 64, "repetitive": 0, "cut_short": 0, "unparsable": 0, "canaries": 0}, "after": {"answers": 8, "characters": 2048, "characters_wanted": 64, "repetitive": 8, "cut_short": 8, "unparsable": 0, "canaries": 0}}, "answers": {"dev#e15": {"before": "right 15", "after": "word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word w"}, "dev#e16": {"before": "right 16", "after": "word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word w"}, "dev#e17": {"before": "right 17", "after": "word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word w"}, "dev#e18": {"before": "right 18", "after": "word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word w"}, "dev#e19": {"before": "right 19", "after": "word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word w"}, "dev#e20": {"before": "right 20", "after": "word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word w"}, "dev#e13": {"before": "right 13", "after": "word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word w"}, "dev#e14": {"before": "right 14", "after": "word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word w"}, "dev#e21": {"before": "right 21", "after": "word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word word w"}}}',21,1.79601294818201518061e+09);
INSERT INTO "decisions" VALUES(7,'billing',3,'abstain','gate','{"reasons": ["not what was trained: adapter_config.json"]}',22,1.79601294828601789474e+09);
INSERT INTO "decisions" VALUES(8,'sql',1,'canary','gate','{"reasons": [], "judgement": {"verdict": "promote", "reasons": [], "alpha_k": 0.025, "p": 0.00390625, "wins": 8, "losses": 0, "ties": 0, "suite_wins": 0, "suite_losses": 0, "suite": 0}, "attempt": 1, "replica": "http://127.0.0.1:8001", "parity": {"probes": 3, "tokens": 9, "distance_nats": 1.3440426913174717, "difference_nats": 0.0, "base_difference_nats": 0.0}, "gate": [{"event": "dev#e23", "before": 0.0, "after": 1.0, "again": null}, {"event": "dev#e24", "before": 0.0, "after": 1.0, "again": null}, {"event": "dev#e25", "before": 0.0, "after": 1.0, "again": null}, {"event": "dev#e26", "before": 0.0, "after": 1.0, "again": null}, {"event": "dev#e27", "before": 0.0, "after": 1.0, "again": null}, {"event": "dev#e28", "before": 0.0, "after": 1.0, "again": null}, {"event": "dev#e29", "before": 0.0, "after": 1.0, "again": null}, {"event": "dev#e30", "before": 0.0, "after": 1.0, "again": null}], "suite": [], "speech": {"before": {"answers": 8, "characters": 64, "characters_wanted": 64, "repetitive": 0, "cut_short": 0, "unparsable": 0, "canaries": 0}, "after": {"answers": 8, "characters": 64, "characters_wanted": 64, "repetitive": 0, "cut_short": 0, "unparsable": 0, "canaries": 0}}, "answers": {"dev#e23": {"before": "wrong 23", "after": "right 23"}, "dev#e24": {"before": "wrong 24", "after": "right 24"}, "dev#e25": {"before": "wrong 25", "after": "right 25"}, "dev#e26": {"before": "wrong 26", "after": "right 26"}, "dev#e27": {"before": "wrong 27", "after": "right 27"}, "dev#e28": {"before": "wrong 28", "after": "right 28"}, "dev#e29": {"before": "wrong 29", "after": "right 29"}, "dev#e30": {"before": "wrong 30", "after": "right 30"}, "dev#e31": {"before": "wrong 31", "after": "right 31"}}}',31,1.79601294857098913197e+09);
INSERT INTO "decisions" VALUES(9,'sql',1,'promote','gate','{"reasons": [], "judgement": {"verdict": "promote", "reasons": [], "alpha_k": 0.025, "p": 0.00390625, "wins": 8, "losses": 0, "ties": 0, "suite_wins": 0, "suite_losses": 0, "suite": 0}, "attempt": 1, "replica": "http://127.0.0.1:8001", "parity": {"probes": 3, "tokens": 9, "distance_nats": 1.3440426913174717, "difference_nats": 0.0, "base_difference_nats": 0.0}, "gate": [{"event": "dev#e23", "before": 0.0, "after": 1.0, "again": null}, {"event": "dev#e24", "before": 0.0, "after": 1.0, "again": null}, {"event": "dev#e25", "before": 0.0, "after": 1.0, "again": null}, {"event": "dev#e26", "before": 0.0, "after": 1.0, "again": null}, {"event": "dev#e27", "before": 0.0, "after": 1.0, "again": null}, {"event": "dev#e28", "before": 0.0, "after": 1.0, "again": null}, {"event": "dev#e29", "before": 0.0, "after": 1.0, "again": null}, {"event": "dev#e30", "before": 0.0, "after": 1.0, "again": null}], "suite": [], "speech": {"before": {"answers": 8, "characters": 64, "characters_wanted": 64, "repetitive": 0, "cut_short": 0, "unparsable": 0, "canaries": 0}, "after": {"answers": 8, "characters": 64, "characters_wanted": 64, "repetitive": 0, "cut_short": 0, "unparsable": 0, "canaries": 0}}, "answers": {"dev#e23": {"before": "wrong 23", "after": "right 23"}, "dev#e24": {"before": "wrong 24", "after": "right 24"}, "dev#e25": {"before": "wrong 25", "after": "right 25"}, "dev#e26": {"before": "wrong 26", "after": "right 26"}, "dev#e27": {"before": "wrong 27", "after": "right 27"}, "dev#e28": {"before": "wrong 28", "after": "right 28"}, "dev#e29": {"before": "wrong 29", "after": "right 29"}, "dev#e30": {"before": "wrong 30", "after": "right 30"}, "dev#e31": {"before": "wrong 31", "after": "right 31"}}, "replicas": {"http://127.0.0.1:8001": {"probes": 3, "tokens": 9, "distance_nats": 1.3440426913174717, "difference_nats": 0.0, "base_difference_nats": 0.0}}, "failed": {}}',31,1.79601294862598776817e+09);
INSERT INTO "decisions" VALUES(10,'sql',1,'rollback','ann','{"reason": "too short", "to": 0}',31,1.7960129486500070095e+09);
INSERT INTO "decisions" VALUES(11,'coder',1,'abstain','gate','{"reasons": ["no replica could hold it"], "failed": {"http://127.0.0.1:8001": "500: Call to add_lora method failed"}}',32,1.79601294872999048234e+09);
CREATE TABLE desired (
	agent VARCHAR(200) NOT NULL, 
	purpose VARCHAR(12) NOT NULL, 
	number INTEGER NOT NULL, 
	share FLOAT NOT NULL, 
	since_s FLOAT NOT NULL, 
	CONSTRAINT pk_desired PRIMARY KEY (agent, purpose), 
	CONSTRAINT fk_desired_agent FOREIGN KEY(agent) REFERENCES agents (name)
);
INSERT INTO "desired" VALUES('coder','serve',0,1.0,1.79601294717598557477e+09);
INSERT INTO "desired" VALUES('billing','serve',1,1.0,1.79601294770400524139e+09);
INSERT INTO "desired" VALUES('billing','predecessor',0,0.0,1.79601294770400524139e+09);
INSERT INTO "desired" VALUES('sql','serve',0,1.0,1.79601294865998482698e+09);
INSERT INTO "desired" VALUES('sql','predecessor',1,0.0,1.79601294865998482698e+09);
CREATE TABLE erasures (
	id INTEGER NOT NULL, 
	kind VARCHAR(20) NOT NULL, 
	whom VARCHAR(64) NOT NULL, 
	"by" VARCHAR(200) NOT NULL, 
	reason TEXT NOT NULL, 
	begun_s FLOAT NOT NULL, 
	finished_s FLOAT, 
	counts JSON NOT NULL, 
	CONSTRAINT pk_erasures PRIMARY KEY (id)
);
CREATE TABLE events (
	seq INTEGER NOT NULL, 
	source VARCHAR(400) NOT NULL, 
	id VARCHAR(200) NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	kind VARCHAR(20) NOT NULL, 
	agent VARCHAR(200) NOT NULL, 
	author VARCHAR(200) NOT NULL, 
	conversation VARCHAR(200), 
	interaction VARCHAR(200), 
	turn INTEGER, 
	"key" VARCHAR(200), 
	amends VARCHAR(200), 
	revision INTEGER NOT NULL, 
	role VARCHAR(10), 
	prompt_group VARCHAR(64), 
	status VARCHAR(20) NOT NULL, 
	status_reason VARCHAR(200), 
	data JSON NOT NULL, 
	occurred_s FLOAT, 
	received_s FLOAT NOT NULL, 
	trace VARCHAR(100), 
	topic_id VARCHAR(40) NOT NULL, 
	partition INTEGER NOT NULL, 
	"offset" BIGINT NOT NULL, retracts VARCHAR(200), forgotten INTEGER, 
	CONSTRAINT pk_events PRIMARY KEY (seq), 
	CONSTRAINT fk_events_agent FOREIGN KEY(agent) REFERENCES agents (name), 
	CONSTRAINT uq_events_source_id UNIQUE (source, id), 
	CONSTRAINT uq_events_topic_id_partition_offset UNIQUE (topic_id, partition, "offset")
);
INSERT INTO "events" VALUES(1,'dev','e1','digest of e1','correction','billing','ann',NULL,NULL,NULL,NULL,NULL,1,'gate','group of e1','open',NULL,'{"messages": [{"role": "user", "content": "ask 1"}], "rejected": "no", "corrected": "right 1"}',NULL,1.79601294718801522253e+09,NULL,'t1',0,0,NULL,NULL);
INSERT INTO "events" VALUES(2,'dev','e2','digest of e2','correction','billing','ann',NULL,NULL,NULL,NULL,NULL,1,'gate','group of e2','open',NULL,'{"messages": [{"role": "user", "content": "ask 2"}], "rejected": "no", "corrected": "right 2"}',NULL,1.79601294718801522253e+09,NULL,'t1',0,1,NULL,NULL);
INSERT INTO "events" VALUES(3,'dev','e3','digest of e3','correction','billing','ann',NULL,NULL,NULL,NULL,NULL,1,'gate','group of e3','open',NULL,'{"messages": [{"role": "user", "content": "ask 3"}], "rejected": "no", "corrected": "right 3"}',NULL,1.79601294718801522253e+09,NULL,'t1',0,2,NULL,NULL);
INSERT INTO "events" VALUES(4,'dev','e4','digest of e4','correction','billing','ann',NULL,NULL,NULL,NULL,NULL,1,'gate','group of e4','open',NULL,'{"messages": [{"role": "user", "content": "ask 4"}], "rejected": "no", "corrected": "right 4"}',NULL,1.79601294718801522253e+09,NULL,'t1',0,3,NULL,NULL);
INSERT INTO "events" VALUES(5,'dev','e5','digest of e5','correction','billing','ann',NULL,NULL,NULL,NULL,NULL,1,'gate','group of e5','open',NULL,'{"messages": [{"role": "user", "content": "ask 5"}], "rejected": "no", "corrected": "right 5"}',NULL,1.79601294718801522253e+09,NULL,'t1',0,4,NULL,NULL);
INSERT INTO "events" VALUES(6,'dev','e6','digest of e6','correction','billing','ann',NULL,NULL,NULL,NULL,NULL,1,'gate','group of e6','open',NULL,'{"messages": [{"role": "user", "content": "ask 6"}], "rejected": "no", "corrected": "right 6"}',NULL,1.79601294718801522253e+09,NULL,'t1',0,5,NULL,NULL);
INSERT INTO "events" VALUES(7,'dev','e7','digest of e7','correction','billing','ann',NULL,NULL,NULL,NULL,NULL,1,'gate','group of e7','open',NULL,'{"messages": [{"role": "user", "content": "ask 7"}], "rejected": "no", "corrected": "right 7"}',NULL,1.79601294718801522253e+09,NULL,'t1',0,6,NULL,NULL);
INSERT INTO "events" VALUES(8,'dev','e8','digest of e8','correction','billing','ann',NULL,NULL,NULL,NULL,NULL,1,'gate','group of e8','open',NULL,'{"messages": [{"role": "user", "content": "ask 8"}], "rejected": "no", "corrected": "right 8"}',NULL,1.79601294718801522253e+09,NULL,'t1',0,7,NULL,NULL);
INSERT INTO "events" VALUES(9,'dev','e9','digest of e9','correction','billing','ann',NULL,NULL,NULL,NULL,NULL,1,'train','group of e9','open',NULL,'{"messages": [{"role": "user", "content": "ask 9"}], "rejected": "no", "corrected": "right 9"}',NULL,1.79601294721501159664e+09,NULL,'t1',0,8,NULL,NULL);
INSERT INTO "events" VALUES(10,'dev','e10','digest of e10','correction','billing','ann',NULL,NULL,NULL,NULL,NULL,1,'train','group of e10','known','already_known','{"messages": [{"role": "user", "content": "ask 10"}], "rejected": "no", "corrected": "right 10"}',NULL,1.79601294721501159664e+09,NULL,'t1',0,9,NULL,NULL);
INSERT INTO "events" VALUES(11,'dev','e11','digest of e11','correction','billing','ann',NULL,NULL,NULL,NULL,NULL,1,'train','group of e11','barren','barren: its 5120 tokens are more than tokens_max','{"messages": [{"role": "user", "content": "ask 11"}], "rejected": "no", "corrected": "right 11"}',NULL,1.79601294721501159664e+09,NULL,'t1',0,10,NULL,NULL);
INSERT INTO "events" VALUES(12,'dev','e12','digest of e12','correction','billing','ann',NULL,NULL,NULL,NULL,NULL,1,'train','group of e12','open',NULL,'{"messages": [{"role": "user", "content": "ask 12"}], "rejected": "no", "corrected": "right 12"}',NULL,1.79601294721501159664e+09,NULL,'t1',0,11,NULL,NULL);
INSERT INTO "events" VALUES(13,'dev','e13','digest of e13','approve','billing','ann',NULL,NULL,NULL,NULL,NULL,1,'gate','group of e13','open',NULL,'{"messages": [{"role": "user", "content": "ask 13"}], "said": "right 13"}',NULL,1.79601294746099710464e+09,NULL,'t1',0,12,NULL,NULL);
INSERT INTO "events" VALUES(14,'dev','e14','digest of e14','approve','billing','ann',NULL,NULL,NULL,NULL,NULL,1,'gate','group of e14','open',NULL,'{"messages": [{"role": "user", "content": "ask 14"}], "said": "right 14"}',NULL,1.79601294746099710464e+09,NULL,'t1',0,13,NULL,NULL);
INSERT INTO "events" VALUES(15,'dev','e15','digest of e15','correction','billing','ann',NULL,NULL,NULL,NULL,NULL,1,'gate','group of e15','open',NULL,'{"messages": [{"role": "user", "content": "ask 15"}], "rejected": "no", "corrected": "right 15"}',NULL,1.7960129477359905243e+09,NULL,'t1',0,14,NULL,NULL);
INSERT INTO "events" VALUES(16,'dev','e16','digest of e16','correction','billing','ann',NULL,NULL,NULL,NULL,NULL,1,'gate','group of e16','open',NULL,'{"messages": [{"role": "user", "content": "ask 16"}], "rejected": "no", "corrected": "right 16"}',NULL,1.7960129477359905243e+09,NULL,'t1',0,15,NULL,NULL);
INSERT INTO "events" VALUES(17,'dev','e17','digest of e17','correction','billing','ann',NULL,NULL,NULL,NULL,NULL,1,'gate','group of e17','open',NULL,'{"messages": [{"role": "user", "content": "ask 17"}], "rejected": "no", "corrected": "right 17"}',NULL,1.7960129477359905243e+09,NULL,'t1',0,16,NULL,NULL);
INSERT INTO "events" VALUES(18,'dev','e18','digest of e18','correction','billing','ann',NULL,NULL,NULL,NULL,NULL,1,'gate','group of e18','open',NULL,'{"messages": [{"role": "user", "content": "ask 18"}], "rejected": "no", "corrected": "right 18"}',NULL,1.7960129477359905243e+09,NULL,'t1',0,17,NULL,NULL);
INSERT INTO "events" VALUES(19,'dev','e19','digest of e19','correction','billing','ann',NULL,NULL,NULL,NULL,NULL,1,'gate','group of e19','open',NULL,'{"messages": [{"role": "user", "content": "ask 19"}], "rejected": "no", "corrected": "right 19"}',NULL,1.7960129477359905243e+09,NULL,'t1',0,18,NULL,NULL);
INSERT INTO "events" VALUES(20,'dev','e20','digest of e20','correction','billing','ann',NULL,NULL,NULL,NULL,NULL,1,'gate','group of e20','open',NULL,'{"messages": [{"role": "user", "content": "ask 20"}], "rejected": "no", "corrected": "right 20"}',NULL,1.7960129477359905243e+09,NULL,'t1',0,19,NULL,NULL);
INSERT INTO "events" VALUES(21,'dev','e21','digest of e21','correction','billing','ann',NULL,NULL,NULL,NULL,NULL,1,'train','group of e21','open',NULL,'{"messages": [{"role": "user", "content": "ask 21"}], "rejected": "no", "corrected": "right 21"}',NULL,1.79601294774701452251e+09,NULL,'t1',0,20,NULL,NULL);
INSERT INTO "events" VALUES(22,'dev','e22','digest of e22','correction','billing','ann',NULL,NULL,NULL,NULL,NULL,1,'train','group of e22','open',NULL,'{"messages": [{"role": "user", "content": "ask 22"}], "rejected": "no", "corrected": "right 22"}',NULL,1.79601294822200679784e+09,NULL,'t1',0,21,NULL,NULL);
INSERT INTO "events" VALUES(23,'dev','e23','digest of e23','correction','sql','ann',NULL,NULL,NULL,NULL,NULL,1,'gate','group of e23','open',NULL,'{"messages": [{"role": "user", "content": "ask 23"}], "rejected": "no", "corrected": "right 23"}',NULL,1.79601294832399797441e+09,NULL,'t1',0,22,NULL,NULL);
INSERT INTO "events" VALUES(24,'dev','e24','digest of e24','correction','sql','ann',NULL,NULL,NULL,NULL,NULL,1,'gate','group of e24','open',NULL,'{"messages": [{"role": "user", "content": "ask 24"}], "rejected": "no", "corrected": "right 24"}',NULL,1.79601294832399797441e+09,NULL,'t1',0,23,NULL,NULL);
INSERT INTO "events" VALUES(25,'dev','e25','digest of e25','correction','sql','ann',NULL,NULL,NULL,NULL,NULL,1,'gate','group of e25','open',NULL,'{"messages": [{"role": "user", "content": "ask 25"}], "rejected": "no", "corrected": "right 25"}',NULL,1.79601294832399797441e+09,NULL,'t1',0,24,NULL,NULL);
INSERT INTO "events" VALUES(26,'dev','e26','digest of e26','correction','sql','ann',NULL,NULL,NULL,NULL,NULL,1,'gate','group of e26','open',NULL,'{"messages": [{"role": "user", "content": "ask 26"}], "rejected": "no", "corrected": "right 26"}',NULL,1.79601294832399797441e+09,NULL,'t1',0,25,NULL,NULL);
INSERT INTO "events" VALUES(27,'dev','e27','digest of e27','correction','sql','ann',NULL,NULL,NULL,NULL,NULL,1,'gate','group of e27','open',NULL,'{"messages": [{"role": "user", "content": "ask 27"}], "rejected": "no", "corrected": "right 27"}',NULL,1.79601294832399797441e+09,NULL,'t1',0,26,NULL,NULL);
INSERT INTO "events" VALUES(28,'dev','e28','digest of e28','correction','sql','ann',NULL,NULL,NULL,NULL,NULL,1,'gate','group of e28','open',NULL,'{"messages": [{"role": "user", "content": "ask 28"}], "rejected": "no", "corrected": "right 28"}',NULL,1.79601294832399797441e+09,NULL,'t1',0,27,NULL,NULL);
INSERT INTO "events" VALUES(29,'dev','e29','digest of e29','correction','sql','ann',NULL,NULL,NULL,NULL,NULL,1,'gate','group of e29','open',NULL,'{"messages": [{"role": "user", "content": "ask 29"}], "rejected": "no", "corrected": "right 29"}',NULL,1.79601294832399797441e+09,NULL,'t1',0,28,NULL,NULL);
INSERT INTO "events" VALUES(30,'dev','e30','digest of e30','correction','sql','ann',NULL,NULL,NULL,NULL,NULL,1,'gate','group of e30','open',NULL,'{"messages": [{"role": "user", "content": "ask 30"}], "rejected": "no", "corrected": "right 30"}',NULL,1.79601294832399797441e+09,NULL,'t1',0,29,NULL,NULL);
INSERT INTO "events" VALUES(31,'dev','e31','digest of e31','correction','sql','ann',NULL,NULL,NULL,NULL,NULL,1,'train','group of e31','held','v1 was rolled back','{"messages": [{"role": "user", "content": "ask 31"}], "rejected": "no", "corrected": "right 31"}',NULL,1.79601294833099842072e+09,NULL,'t1',0,30,NULL,NULL);
INSERT INTO "events" VALUES(32,'dev','e32','digest of e32','correction','coder','ann',NULL,NULL,NULL,NULL,NULL,1,'train','group of e32','barren','barren: empty','{"messages": [{"role": "user", "content": "ask 32"}], "rejected": "no", "corrected": "right 32"}',NULL,1.79601294866601967812e+09,NULL,'t1',0,31,NULL,NULL);
INSERT INTO "events" VALUES(33,'dev','e33','digest of e33','correction','coder','ann',NULL,NULL,NULL,NULL,NULL,1,'train','group of e33','barren','barren: empty','{"messages": [{"role": "user", "content": "ask 33"}], "rejected": "no", "corrected": "right 33"}',NULL,1.79601294875598096849e+09,NULL,'t1',0,32,NULL,NULL);
INSERT INTO "events" VALUES(34,'dev','e34','digest of e34','correction','billing','ann',NULL,NULL,NULL,NULL,NULL,1,'train','group of e34','open',NULL,'{"messages": [{"role": "user", "content": "ask 34"}], "rejected": "no", "corrected": "right 34"}',NULL,1.79601294878301763532e+09,NULL,'t1',0,33,NULL,NULL);
INSERT INTO "events" VALUES(35,'dev','named','digest of named','correction','billing','ann',NULL,'i1',NULL,NULL,NULL,1,'train','group of named','open',NULL,'{"messages": [{"role": "user", "content": "named"}], "rejected": "no", "corrected": "yes"}',NULL,1.79601294880401945119e+09,NULL,'t1',0,34,NULL,NULL);
CREATE TABLE facts (
	name VARCHAR(40) NOT NULL, 
	value TEXT NOT NULL, 
	CONSTRAINT pk_facts PRIMARY KEY (name)
);
INSERT INTO "facts" VALUES('generation','6');
CREATE TABLE interactions (
	id VARCHAR(200) NOT NULL, 
	agent VARCHAR(200) NOT NULL, 
	version VARCHAR(40) NOT NULL, 
	conversation VARCHAR(200), 
	turn INTEGER, 
	messages JSON NOT NULL, 
	completion TEXT NOT NULL, 
	token_ids JSON, 
	logprobs JSON, 
	sampling JSON NOT NULL, 
	finish_reason VARCHAR(40), 
	prompt_group VARCHAR(64) NOT NULL, 
	role VARCHAR(10) NOT NULL, 
	received_s FLOAT NOT NULL, forgotten INTEGER, 
	CONSTRAINT pk_interactions PRIMARY KEY (id)
);
INSERT INTO "interactions" VALUES('i1','billing','v0',NULL,NULL,'[{"role": "user", "content": "hello"}]','hi','[1, 2]','[-0.5, -0.25]','{"temperature": 0.0}','stop','group','train',1.7960129487999961376e+09,NULL);
CREATE TABLE leases (
	name VARCHAR(240) NOT NULL, 
	holder VARCHAR(200) NOT NULL, 
	token BIGINT NOT NULL, 
	until_s FLOAT NOT NULL, 
	CONSTRAINT pk_leases PRIMARY KEY (name)
);
INSERT INTO "leases" VALUES('agent:billing','learner-1',4,1.79601295879098391537e+09);
INSERT INTO "leases" VALUES('agent:sql','learner-1',1,0.0);
INSERT INTO "leases" VALUES('agent:coder','learner-1',2,0.0);
CREATE TABLE outbox (
	id INTEGER NOT NULL, 
	topic VARCHAR(200) NOT NULL, 
	"key" BLOB, 
	value BLOB, 
	headers JSON NOT NULL, 
	created_s FLOAT NOT NULL, 
	sent_s FLOAT, 
	CONSTRAINT pk_outbox PRIMARY KEY (id)
);
INSERT INTO "outbox" VALUES(1,'clorad.lifecycle',X'62696C6C696E67',X'7B226167656E74223A202262696C6C696E67222C202276657273696F6E223A20312C202276657264696374223A202263616E617279222C20226279223A202267617465222C20226174223A20313739363031323934372E3637313031347D','[["content-type", "YXBwbGljYXRpb24vanNvbg=="]]',1.79601294767101407048e+09,NULL);
INSERT INTO "outbox" VALUES(2,'clorad.lifecycle',X'62696C6C696E67',X'7B226167656E74223A202262696C6C696E67222C202276657273696F6E223A20312C202276657264696374223A202270726F6D6F7465222C20226279223A202267617465222C20226174223A20313739363031323934372E373032393939347D','[["content-type", "YXBwbGljYXRpb24vanNvbg=="]]',1.79601294770299935339e+09,NULL);
INSERT INTO "outbox" VALUES(3,'clorad.lifecycle',X'62696C6C696E67',X'7B226167656E74223A202262696C6C696E67222C202276657273696F6E223A20322C202276657264696374223A2022726566757365222C20226279223A202267617465222C20226174223A20313739363031323934382E3138373030347D','[["content-type", "YXBwbGljYXRpb24vanNvbg=="]]',1.79601294818700408933e+09,NULL);
INSERT INTO "outbox" VALUES(4,'clorad.lifecycle',X'62696C6C696E67',X'7B226167656E74223A202262696C6C696E67222C202276657273696F6E223A20332C202276657264696374223A20226162737461696E222C20226279223A202267617465222C20226174223A20313739363031323934382E323836393833357D','[["content-type", "YXBwbGljYXRpb24vanNvbg=="]]',1.79601294828698348996e+09,NULL);
INSERT INTO "outbox" VALUES(5,'clorad.lifecycle',X'73716C',X'7B226167656E74223A202273716C222C202276657273696F6E223A20312C202276657264696374223A202263616E617279222C20226279223A202267617465222C20226174223A20313739363031323934382E353731393934387D','[["content-type", "YXBwbGljYXRpb24vanNvbg=="]]',1.79601294857400655747e+09,NULL);
INSERT INTO "outbox" VALUES(6,'clorad.lifecycle',X'73716C',X'7B226167656E74223A202273716C222C202276657273696F6E223A20312C202276657264696374223A202270726F6D6F7465222C20226279223A202267617465222C20226174223A20313739363031323934382E363237393939337D','[["content-type", "YXBwbGljYXRpb24vanNvbg=="]]',1.79601294862799930568e+09,NULL);
INSERT INTO "outbox" VALUES(7,'clorad.lifecycle',X'73716C',X'7B226167656E74223A202273716C222C202276657273696F6E223A20312C202276657264696374223A2022726F6C6C6261636B222C20226279223A2022616E6E222C20226174223A20313739363031323934382E3635343939367D','[["content-type", "YXBwbGljYXRpb24vanNvbg=="]]',1.79601294865499591831e+09,NULL);
INSERT INTO "outbox" VALUES(8,'clorad.lifecycle',X'636F646572',X'7B226167656E74223A2022636F646572222C202276657273696F6E223A20312C202276657264696374223A20226162737461696E222C20226279223A202267617465222C20226174223A20313739363031323934382E373330393936317D','[["content-type", "YXBwbGljYXRpb24vanNvbg=="]]',1.79601294873099613189e+09,NULL);
INSERT INTO "outbox" VALUES(9,'clorad.dead-letters',X'6B6579',X'6279746573203335','[["ce_id", "MQ=="], ["ce_id", null], ["clorad.dead.reason", "aW52YWxpZF9qc29u"], ["clorad.dead.detail", "bGluZSAx"], ["clorad.dead.topic", "Y2xvcmFkLmZlZWRiYWNr"], ["clorad.dead.partition", "MA=="], ["clorad.dead.offset", "MzU="]]',1.79601294880599069597e+09,NULL);
CREATE TABLE passes (
	id INTEGER NOT NULL, 
	holder VARCHAR(200) NOT NULL, 
	form JSON NOT NULL, 
	opened_s FLOAT NOT NULL, 
	closed_s FLOAT, virtual_time FLOAT DEFAULT '0' NOT NULL, 
	CONSTRAINT pk_passes PRIMARY KEY (id)
);
INSERT INTO "passes" VALUES(1,'learner-1','{"threads": 1, "device": "cpu"}',1.79601294726401567456e+09,1.7960129473139853477e+09,0.0);
INSERT INTO "passes" VALUES(2,'learner-1','{"threads": 1, "device": "cpu"}',1.7960129477619812488e+09,1.79601294778201723105e+09,0.0);
INSERT INTO "passes" VALUES(3,'learner-1','{"threads": 1, "device": "cpu"}',1.79601294823999118807e+09,1.79601294825998687742e+09,0.0);
INSERT INTO "passes" VALUES(4,'learner-1','{"threads": 1, "device": "cpu"}',1.79601294835099434851e+09,1.79601294836901879308e+09,0.0);
INSERT INTO "passes" VALUES(5,'learner-1','{"threads": 1, "device": "cpu"}',1.79601294868299818036e+09,1.79601294869901084898e+09,0.0);
INSERT INTO "passes" VALUES(6,'learner-1','{"threads": 1, "device": "cpu"}',1.79601294876901650425e+09,1.796012948776017189e+09,0.0);
INSERT INTO "passes" VALUES(7,'learner-1','{"threads": 1, "device": "cpu"}',1.79601294879798436166e+09,NULL,0.0);
CREATE TABLE positions (
	topic_id VARCHAR(40) NOT NULL, 
	partition INTEGER NOT NULL, 
	topic VARCHAR(200) NOT NULL, 
	cluster_id VARCHAR(60) NOT NULL, 
	began BIGINT NOT NULL, 
	next_offset BIGINT NOT NULL, 
	updated_s FLOAT NOT NULL, 
	CONSTRAINT pk_positions PRIMARY KEY (topic_id, partition)
);
INSERT INTO "positions" VALUES('t1',0,'clorad.feedback','c1',0,36,1.79601294880401945119e+09);
INSERT INTO "positions" VALUES('t2',0,'clorad.interactions','c1',0,1,1.7960129487999961376e+09);
CREATE TABLE ranges (
	topic_id VARCHAR(40) NOT NULL, 
	partition INTEGER NOT NULL, 
	start BIGINT NOT NULL, 
	"end" BIGINT NOT NULL, 
	records INTEGER NOT NULL, 
	stored INTEGER NOT NULL, 
	interactions INTEGER NOT NULL, 
	dead INTEGER NOT NULL, 
	duplicates INTEGER NOT NULL, 
	kept_s FLOAT NOT NULL, 
	gap VARCHAR(200), 
	CONSTRAINT pk_ranges PRIMARY KEY (topic_id, partition, start), 
	CONSTRAINT ck_ranges_runs_forward CHECK ("end" > start), 
	CONSTRAINT ck_ranges_interactions_are_stored CHECK (interactions <= stored), 
	CONSTRAINT ck_ranges_within CHECK (records <= "end" - start), 
	CONSTRAINT ck_ranges_every_record_once CHECK (records = stored + dead + duplicates)
);
INSERT INTO "ranges" VALUES('t1',0,0,8,8,8,0,0,0,1.79601294718801522253e+09,NULL);
INSERT INTO "ranges" VALUES('t1',0,8,12,4,4,0,0,0,1.79601294721501159664e+09,NULL);
INSERT INTO "ranges" VALUES('t1',0,12,14,2,2,0,0,0,1.79601294746099710464e+09,NULL);
INSERT INTO "ranges" VALUES('t1',0,14,20,6,6,0,0,0,1.7960129477359905243e+09,NULL);
INSERT INTO "ranges" VALUES('t1',0,20,21,1,1,0,0,0,1.79601294774701452251e+09,NULL);
INSERT INTO "ranges" VALUES('t1',0,21,22,1,1,0,0,0,1.79601294822200679784e+09,NULL);
INSERT INTO "ranges" VALUES('t1',0,22,30,8,8,0,0,0,1.79601294832399797441e+09,NULL);
INSERT INTO "ranges" VALUES('t1',0,30,31,1,1,0,0,0,1.79601294833099842072e+09,NULL);
INSERT INTO "ranges" VALUES('t1',0,31,32,1,1,0,0,0,1.79601294866601967812e+09,NULL);
INSERT INTO "ranges" VALUES('t1',0,32,33,1,1,0,0,0,1.79601294875598096849e+09,NULL);
INSERT INTO "ranges" VALUES('t1',0,33,34,1,1,0,0,0,1.79601294878301763532e+09,NULL);
INSERT INTO "ranges" VALUES('t2',0,0,1,1,1,1,0,0,1.7960129487999961376e+09,NULL);
INSERT INTO "ranges" VALUES('t1',0,34,36,2,1,0,1,0,1.79601294880401945119e+09,NULL);
CREATE TABLE replicas (
	url VARCHAR(400) NOT NULL, 
	in_rotation BOOLEAN NOT NULL, 
	base_name VARCHAR(400), 
	models JSON NOT NULL, 
	note VARCHAR(200), 
	seen_s FLOAT NOT NULL, 
	CONSTRAINT pk_replicas PRIMARY KEY (url)
);
CREATE TABLE turn_events (
	turn_id INTEGER NOT NULL, 
	event_seq INTEGER NOT NULL, 
	part VARCHAR(10) NOT NULL, 
	place INTEGER NOT NULL, 
	revision INTEGER NOT NULL, 
	outcome VARCHAR(40), 
	CONSTRAINT pk_turn_events PRIMARY KEY (turn_id, event_seq, part), 
	CONSTRAINT fk_turn_events_event_seq FOREIGN KEY(event_seq) REFERENCES events (seq), 
	CONSTRAINT fk_turn_events_turn_id FOREIGN KEY(turn_id) REFERENCES turns (id)
);
INSERT INTO "turn_events" VALUES(1,9,'new',0,1,'trained');
INSERT INTO "turn_events" VALUES(1,10,'new',1,1,'already_known');
INSERT INTO "turn_events" VALUES(1,11,'new',2,1,'barren: its 5120 tokens are more than to');
INSERT INTO "turn_events" VALUES(1,12,'new',3,1,'not used: nothing to teach');
INSERT INTO "turn_events" VALUES(2,21,'new',0,1,'trained');
INSERT INTO "turn_events" VALUES(3,21,'new',0,1,'trained');
INSERT INTO "turn_events" VALUES(3,22,'new',1,1,'trained');
INSERT INTO "turn_events" VALUES(4,31,'new',0,1,'trained');
INSERT INTO "turn_events" VALUES(5,32,'new',0,1,'trained');
INSERT INTO "turn_events" VALUES(6,32,'new',0,1,'barren: empty');
INSERT INTO "turn_events" VALUES(6,33,'new',1,1,'barren: empty');
INSERT INTO "turn_events" VALUES(7,21,'new',0,1,NULL);
INSERT INTO "turn_events" VALUES(7,22,'new',1,1,NULL);
INSERT INTO "turn_events" VALUES(7,34,'new',2,1,NULL);
CREATE TABLE turns (
	id INTEGER NOT NULL, 
	pass_id INTEGER NOT NULL, 
	place INTEGER NOT NULL, 
	agent VARCHAR(200) NOT NULL, 
	number INTEGER NOT NULL, 
	parent INTEGER NOT NULL, 
	recipe JSON NOT NULL, 
	labelling JSON NOT NULL, 
	seed BIGINT NOT NULL, 
	attempt INTEGER NOT NULL, 
	through_seq BIGINT NOT NULL, 
	token BIGINT NOT NULL, 
	state VARCHAR(10) NOT NULL, 
	reason VARCHAR(200), tokens BIGINT DEFAULT '0' NOT NULL, closed_s FLOAT, 
	CONSTRAINT pk_turns PRIMARY KEY (id), 
	CONSTRAINT fk_turns_agent FOREIGN KEY(agent) REFERENCES agents (name), 
	CONSTRAINT fk_turns_pass_id FOREIGN KEY(pass_id) REFERENCES passes (id), 
	CONSTRAINT uq_turns_pass_id_place UNIQUE (pass_id, place)
);
INSERT INTO "turns" VALUES(1,1,0,'billing',1,0,'{"rank": 4}','{"baseline": 0.25}',7,1,12,1,'made',NULL,100,1.7960129473139853477e+09);
INSERT INTO "turns" VALUES(2,2,0,'billing',2,1,'{"rank": 4}','{"baseline": 0.25}',7,1,21,2,'made',NULL,100,1.79601294778201723105e+09);
INSERT INTO "turns" VALUES(3,3,0,'billing',3,1,'{"rank": 4}','{"baseline": 0.25}',7,1,22,3,'made',NULL,100,1.79601294825998687742e+09);
INSERT INTO "turns" VALUES(4,4,0,'sql',1,0,'{"rank": 4}','{"baseline": 0.25}',7,1,31,1,'made',NULL,100,1.79601294836901879308e+09);
INSERT INTO "turns" VALUES(5,5,0,'coder',1,0,'{"rank": 4}','{"baseline": 0.25}',7,1,32,1,'made',NULL,100,1.79601294869901084898e+09);
INSERT INTO "turns" VALUES(6,6,0,'coder',2,0,'{"rank": 4}','{"baseline": 0.25}',7,1,33,2,'dropped','nothing to train on',7,1.796012948776017189e+09);
INSERT INTO "turns" VALUES(7,7,0,'billing',4,1,'{"rank": 4}','{"baseline": 0.25}',7,1,34,4,'open',NULL,0,NULL);
CREATE TABLE versions (
	agent VARCHAR(200) NOT NULL, 
	number INTEGER NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	base_hash VARCHAR(64) NOT NULL, 
	parent INTEGER NOT NULL, 
	turn_id INTEGER NOT NULL, 
	through_seq BIGINT NOT NULL, 
	path TEXT NOT NULL, 
	made_s FLOAT NOT NULL, pruned_s FLOAT, 
	CONSTRAINT pk_versions PRIMARY KEY (agent, number), 
	CONSTRAINT fk_versions_agent FOREIGN KEY(agent) REFERENCES agents (name), 
	CONSTRAINT fk_versions_turn_id FOREIGN KEY(turn_id) REFERENCES turns (id), 
	CONSTRAINT uq_versions_turn_id UNIQUE (turn_id)
);
INSERT INTO "versions" VALUES('billing',1,'4780b49ed74d6ded6ed0d96cbc8450ec6ac0528b8975ac7c5f2beaf09c51d695','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',0,1,12,'billing/v1-4780b4',1.79601294731201386453e+09,NULL);
INSERT INTO "versions" VALUES('billing',2,'0fa0d23ae2d2a9f109b852619624f6340d4b09d2a43582fc985ccfd9937ab3cd','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',1,2,21,'billing/v2-0fa0d2',1.79601294778101158136e+09,NULL);
INSERT INTO "versions" VALUES('billing',3,'52afa0a242e83246ecab6c99280fea45290564405ae3a53379beed5fc8f8fc70','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',1,3,22,'billing/v3-52afa0',1.79601294825998687742e+09,NULL);
INSERT INTO "versions" VALUES('sql',1,'66bf0408923c00d893833a47b872ab42411ede446da5835ee0406f674b470dbe','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',0,4,31,'sql/v1-66bf04',1.79601294836801290508e+09,NULL);
INSERT INTO "versions" VALUES('coder',1,'b8be198b42198e540b77a8bffc5d292a32b1a13f9edab5ef4112d81396423bee','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',0,5,32,'coder/v1-b8be19',1.79601294869901084898e+09,NULL);
CREATE TABLE waiting_records (
	topic_id VARCHAR(40) NOT NULL, 
	partition INTEGER NOT NULL, 
	"offset" BIGINT NOT NULL, 
	"key" BLOB, 
	value BLOB, 
	headers JSON NOT NULL, 
	CONSTRAINT pk_waiting_records PRIMARY KEY (topic_id, partition, "offset")
);
CREATE INDEX ix_dead_letters_reason ON dead_letters (reason);
CREATE INDEX ix_interactions_agent_conversation ON interactions (agent, conversation);
CREATE INDEX ix_interactions_received_s ON interactions (received_s);
CREATE INDEX ix_outbox_sent_s_id ON outbox (sent_s, id);
CREATE INDEX ix_decisions_agent_number ON decisions (agent, number);
CREATE INDEX ix_events_agent_key ON events (agent, "key");
CREATE INDEX ix_events_agent_status_role_kind ON events (agent, status, role, kind);
CREATE INDEX ix_events_interaction ON events (interaction);
CREATE INDEX ix_turns_agent_state ON turns (agent, state);
CREATE INDEX ix_turn_events_event_seq ON turn_events (event_seq);
CREATE INDEX ix_events_retracts ON events (retracts) WHERE retracts IS NOT NULL;
CREATE INDEX ix_events_agent_amends ON events (agent, amends) WHERE amends IS NOT NULL;
CREATE INDEX ix_turns_closed_s ON turns (closed_s);
CREATE INDEX ix_events_agent_conversation ON events (agent, conversation) WHERE conversation IS NOT NULL;
COMMIT;
