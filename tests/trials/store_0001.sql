BEGIN TRANSACTION;
CREATE TABLE architecture (
	id VARCHAR(64) NOT NULL, 
	json TEXT NOT NULL, 
	params BIGINT, 
	macs BIGINT, 
	created DATETIME NOT NULL, 
	CONSTRAINT pk_architecture PRIMARY KEY (id)
);
INSERT INTO "architecture" VALUES('00000000000000aa','{"stages": []}',1000,2000,'2026-11-22 23:03:21.180271');
INSERT INTO "architecture" VALUES('00000000000000bb','{"stages": []}',1000,2000,'2026-11-22 23:03:21.235349');
INSERT INTO "architecture" VALUES('00000000000000cc','{"stages": []}',NULL,NULL,'2026-11-22 23:03:21.237172');
CREATE TABLE artifact (
	id INTEGER NOT NULL, 
	trial_id INTEGER, 
	kind TEXT NOT NULL, 
	path TEXT NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	bytes BIGINT NOT NULL, 
	created DATETIME NOT NULL, 
	CONSTRAINT pk_artifact PRIMARY KEY (id), 
	CONSTRAINT uq_artifact_path UNIQUE (path), 
	CONSTRAINT fk_artifact_trial_id FOREIGN KEY(trial_id) REFERENCES trial (id)
);
INSERT INTO "artifact" VALUES(1,1,'checkpoint','old/0/last.pt','0000000000000000000000000000000000000000000000000000000000000000',123,'2026-11-22 23:03:21.225243');
CREATE TABLE epoch_metric (
	trial_id INTEGER NOT NULL, 
	epoch INTEGER NOT NULL, 
	metric VARCHAR(100) NOT NULL, 
	value FLOAT, 
	attempt INTEGER NOT NULL, 
	created DATETIME NOT NULL, 
	CONSTRAINT pk_epoch_metric PRIMARY KEY (trial_id, epoch, metric), 
	CONSTRAINT fk_epoch_metric_trial_id FOREIGN KEY(trial_id) REFERENCES trial (id)
)
 WITHOUT ROWID

;
INSERT INTO "epoch_metric" VALUES(1,1,'accuracy',0.5,1,'2026-11-22 23:03:21.206654');
INSERT INTO "epoch_metric" VALUES(1,1,'loss',1.5,1,'2026-11-22 23:03:21.206654');
INSERT INTO "epoch_metric" VALUES(1,2,'accuracy',0.75,2,'2026-11-22 23:03:21.209031');
INSERT INTO "epoch_metric" VALUES(1,2,'loss',1.0,2,'2026-11-22 23:03:21.209031');
INSERT INTO "epoch_metric" VALUES(3,1,'loss',NULL,1,'2026-11-22 23:03:21.236328');
CREATE TABLE measurement (
	id INTEGER NOT NULL, 
	"key" VARCHAR(32) NOT NULL, 
	trial_id INTEGER, 
	arch_id VARCHAR(64) NOT NULL, 
	metric VARCHAR(100) NOT NULL, 
	value FLOAT NOT NULL, 
	unit TEXT NOT NULL, 
	spread FLOAT, 
	device TEXT NOT NULL, 
	circumstances JSON NOT NULL, 
	evaluator TEXT NOT NULL, 
	version INTEGER NOT NULL, 
	seed BIGINT, 
	created DATETIME NOT NULL, 
	CONSTRAINT pk_measurement PRIMARY KEY (id), 
	CONSTRAINT uq_measurement_key UNIQUE ("key"), 
	CONSTRAINT fk_measurement_trial_id FOREIGN KEY(trial_id) REFERENCES trial (id), 
	CONSTRAINT fk_measurement_arch_id FOREIGN KEY(arch_id) REFERENCES architecture (id)
);
INSERT INTO "measurement" VALUES(1,'d01384581338432c9bfef231005134f1',1,'00000000000000aa','accuracy',0.75,'ratio',NULL,'','{}','train',1,9223372036854775807,'2026-11-22 23:03:21.223014');
INSERT INTO "measurement" VALUES(2,'9e78cefd64c60b4a4097d6a1377059b1',1,'00000000000000aa','latency_ms',3.5,'ms',0.25,'cpu','{"device": "cpu", "threads": 1}','train',1,9223372036854775807,'2026-11-22 23:03:21.223014');
CREATE TABLE nas_alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT nas_alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "nas_alembic_version" VALUES('0001');
CREATE TABLE study (
	id INTEGER NOT NULL, 
	name VARCHAR(100) NOT NULL, 
	space TEXT NOT NULL, 
	config JSON NOT NULL, 
	code_version TEXT NOT NULL, 
	data_fingerprint TEXT NOT NULL, 
	trial_count INTEGER NOT NULL, 
	lease_token VARCHAR(32), 
	lease_host TEXT, 
	lease_pid BIGINT, 
	lease_beat DATETIME, 
	created DATETIME NOT NULL, 
	CONSTRAINT pk_study PRIMARY KEY (id), 
	CONSTRAINT uq_study_name UNIQUE (name)
);
INSERT INTO "study" VALUES(1,'old','stages: []
','{"budget": 3}','0.1.0','00ff',4,NULL,NULL,NULL,NULL,'2026-11-22 23:03:21.178774');
CREATE TABLE trial (
	id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	attempt INTEGER NOT NULL, 
	reason TEXT, 
	seed BIGINT NOT NULL, 
	sampler TEXT NOT NULL, 
	origin TEXT, 
	arch_id VARCHAR(64) NOT NULL, 
	params BIGINT, 
	macs BIGINT, 
	choices JSON NOT NULL, 
	duplicate_of INTEGER, 
	started DATETIME, 
	finished DATETIME, 
	worker TEXT, 
	epochs INTEGER NOT NULL, 
	extra JSON NOT NULL, 
	created DATETIME NOT NULL, 
	CONSTRAINT pk_trial PRIMARY KEY (id), 
	CONSTRAINT uq_trial_study_id_number UNIQUE (study_id, number), 
	CONSTRAINT fk_trial_study_id FOREIGN KEY(study_id) REFERENCES study (id), 
	CONSTRAINT fk_trial_arch_id FOREIGN KEY(arch_id) REFERENCES architecture (id), 
	CONSTRAINT fk_trial_study_id_duplicate_of FOREIGN KEY(study_id, duplicate_of) REFERENCES trial (study_id, number), 
	CONSTRAINT ck_trial_state CHECK (state IN ('queued', 'running', 'complete', 'stopped', 'failed', 'duplicate', 'infeasible'))
);
INSERT INTO "trial" VALUES(1,1,0,'complete',2,NULL,9223372036854775807,'random','convnext_tiny','00000000000000aa',1000,2000,'{"stages[0].width": 64}',NULL,'2026-11-22 23:03:21.208705','2026-11-22 23:03:21.224693','w',2,'{"k": [1, 2]}','2026-11-22 23:03:21.180271');
INSERT INTO "trial" VALUES(2,1,1,'duplicate',0,NULL,9223372036854775807,'random',NULL,'00000000000000aa',1000,2000,'{"stages[0].width": 64}',0,NULL,'2026-11-22 23:03:21.234661',NULL,0,'{"k": [1, 2]}','2026-11-22 23:03:21.234661');
INSERT INTO "trial" VALUES(3,1,2,'failed',1,'loss is nan at epoch 1',9223372036854775807,'random',NULL,'00000000000000bb',1000,2000,'{"stages[0].width": 64}',NULL,'2026-11-22 23:03:21.236003','2026-11-22 23:03:21.237021','w',1,'{"k": [1, 2]}','2026-11-22 23:03:21.235349');
INSERT INTO "trial" VALUES(4,1,3,'queued',0,NULL,9223372036854775807,'random',NULL,'00000000000000cc',NULL,NULL,'{"stages[0].width": 64}',NULL,NULL,NULL,NULL,0,'{"k": [1, 2]}','2026-11-22 23:03:21.237172');
CREATE INDEX ix_trial_study_id_state ON trial (study_id, state);
CREATE INDEX ix_trial_arch_id ON trial (arch_id);
CREATE INDEX ix_measurement_trial_id ON measurement (trial_id);
CREATE INDEX ix_measurement_arch_id_metric ON measurement (arch_id, metric);
CREATE INDEX ix_artifact_trial_id ON artifact (trial_id);
COMMIT;
