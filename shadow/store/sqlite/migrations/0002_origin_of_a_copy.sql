-- Where the primary was asked: a candidate elsewhere gets the redacted copy, also when a route led the app away from home.
ALTER TABLE job_body ADD COLUMN origin TEXT NOT NULL DEFAULT '';
