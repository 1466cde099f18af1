-- Which prompts were asked before, told by keyed hashes: nothing of a prompt can be read from one.

-- What a sampled exchange asked, hashed with the configured seed; NULL where it was not sampled or could not be read.
ALTER TABLE exchange ADD COLUMN prompt TEXT;

-- The same of a conversation's first turn.
ALTER TABLE ledger_conversation ADD COLUMN prompt TEXT;

CREATE INDEX ledger_conversation_by_prompt ON ledger_conversation (ledger, prompt) WHERE prompt IS NOT NULL;
