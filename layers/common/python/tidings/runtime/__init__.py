"""How it runs: the wiring, the functions under functions-framework and on Lambda, the trigger, the scheduler."""
