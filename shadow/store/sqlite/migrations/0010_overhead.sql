-- What the gateway itself added to an exchange, in microseconds; NULL where it was not measured or not defined.
ALTER TABLE exchange ADD COLUMN overhead_us INTEGER;
