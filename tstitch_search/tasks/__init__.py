"""Tasks: whatever else can be asked of a study, a run folder or a table. One module per verb, named as the verb."""
