"""Operations on an installation, below the commands that print them: what is running, what the log holds, what is set.

`question` asks the daemon, `log_facts` looks at a log without changing it, `processes` names who is behind a pid, `status`
puts them together; `settings` and `config_schema` explain the configuration; `prune`, `setup` and `demo` do what
`db prune`, `init` and `demo` are called for.
"""
