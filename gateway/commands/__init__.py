"""Groups of commands, a file each; `gateway.cli` registers them. Libraries are loaded inside each command."""
