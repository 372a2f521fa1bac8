/* The commands of seekd-bench. Each parses its own arguments (argv[0] is the command's name) and
 * returns the exit status: 0, 1 (could not measure; said why on stderr) or 2 (wrong command line).
 */
#pragma once

int bench_agents(int argc, char **argv);
int bench_ipc(int argc, char **argv);
int bench_engine(int argc, char **argv);
int bench_engram(int argc, char **argv);
int bench_grammar(int argc, char **argv);
int bench_kv(int argc, char **argv);
int bench_load(int argc, char **argv);
int bench_make_checkpoint(int argc, char **argv);
int bench_tokenizer(int argc, char **argv);
