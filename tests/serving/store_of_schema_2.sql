-- A service.db as Holdfast left it before its schema had versions, with rows; sqlite3's dump.
PRAGMA user_version = 2;
BEGIN TRANSACTION;
CREATE TABLE accepted_events (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	event_id TEXT NOT NULL, 
	customer_key TEXT NOT NULL, 
	occurred_at BIGINT NOT NULL, 
	recorded_at BIGINT NOT NULL, 
	kind TEXT NOT NULL, 
	item_id TEXT, 
	order_id TEXT, 
	quantity BIGINT, 
	amount_minor BIGINT, 
	discount_minor BIGINT, 
	currency TEXT, 
	channel TEXT, 
	value BIGINT, 
	topic TEXT, 
	text TEXT, 
	recommendation_id TEXT, 
	decision_id TEXT, 
	sealed_version BIGINT
);
INSERT INTO "accepted_events" VALUES(1,'a','k:1',5,10,'login',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "accepted_events" VALUES(2,'b','k:1',5,10,'login',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE decisions (
	seq INTEGER NOT NULL, 
	decision_id TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	customer_key TEXT, 
	as_of_us BIGINT NOT NULL, 
	release TEXT NOT NULL, 
	experiment TEXT NOT NULL, 
	arm TEXT NOT NULL, 
	churn_probability FLOAT, 
	item_ids TEXT, 
	fingerprint TEXT, 
	feature_values BLOB, 
	propensities TEXT, 
	PRIMARY KEY (seq)
);
CREATE TABLE early_warnings (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	customer_key TEXT NOT NULL, 
	as_of_us BIGINT NOT NULL, 
	release TEXT NOT NULL, 
	rise FLOAT NOT NULL, 
	churn_probability FLOAT NOT NULL, 
	probability_before FLOAT NOT NULL, 
	band TEXT NOT NULL, 
	expected_loss_minor BIGINT, 
	currency TEXT
);
CREATE TABLE promotions (
	seq INTEGER NOT NULL, 
	at_us BIGINT NOT NULL, 
	who TEXT NOT NULL, 
	action TEXT NOT NULL, 
	"before" TEXT NOT NULL, 
	"after" TEXT NOT NULL, 
	why TEXT NOT NULL, 
	figures TEXT NOT NULL, 
	PRIMARY KEY (seq)
);
INSERT INTO "promotions" VALUES(1,7,'ada','set_champion','{}','{"champion": "first", "share": 0.0, "salt": "", "revision": 1}','a test','{}');
INSERT INTO "promotions" VALUES(2,8,'ada','start','{"champion": "first", "share": 0.0, "salt": "", "revision": 1}','{"champion": "first", "challenger": "second", "share": 0.25, "salt": "salt", "revision": 2}','a test','{}');
CREATE TABLE rollouts (
	id INTEGER NOT NULL, 
	revision INTEGER NOT NULL, 
	champion TEXT NOT NULL, 
	challenger TEXT, 
	previous TEXT, 
	share FLOAT NOT NULL, 
	salt TEXT NOT NULL, 
	PRIMARY KEY (id), 
	CHECK (id = 1)
);
INSERT INTO "rollouts" VALUES(1,2,'first','second',NULL,0.25,'salt');
CREATE TABLE visitor_links (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	anonymous_key TEXT NOT NULL, 
	from_seq BIGINT NOT NULL, 
	customer_key TEXT, 
	linked_us BIGINT NOT NULL
);
CREATE TABLE warned_customers (
	customer_key TEXT NOT NULL, 
	warned_us BIGINT NOT NULL, 
	armed BOOLEAN NOT NULL, 
	PRIMARY KEY (customer_key)
)
 WITHOUT ROWID

;
CREATE INDEX accepted_events_unsealed ON accepted_events (seq) WHERE sealed_version IS NULL;
CREATE UNIQUE INDEX accepted_events_event_id ON accepted_events (event_id);
CREATE INDEX early_warnings_as_of ON early_warnings (as_of_us);
CREATE INDEX visitor_links_customer_key ON visitor_links (customer_key);
CREATE UNIQUE INDEX visitor_links_anonymous_key ON visitor_links (anonymous_key, from_seq);
CREATE TRIGGER promotions_no_update BEFORE UPDATE ON promotions BEGIN SELECT RAISE(ABORT, 'the promotion log is append-only'); END;
CREATE TRIGGER promotions_no_delete BEFORE DELETE ON promotions BEGIN SELECT RAISE(ABORT, 'the promotion log is append-only'); END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('accepted_events',2);
COMMIT;
