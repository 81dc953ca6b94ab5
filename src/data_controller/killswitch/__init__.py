"""What stops the engine from adding risk: the latch file, which anyone may set and only `resume` clears."""
