/* Generate.json_schema and the tools that a conversation holds its answer to, compiled for one
 * request. */
#pragma once

#include "proto/seekd.pb-c.h"

struct engine;
struct request;

/* Makes request->grammar when the request restricts its output: it gives a schema, requires a call,
 * or has a tool with "strict": true. The prompt has been read. After a failure request->refusal
 * names the field, and the JSON pointer of what cannot be compiled. 0 or -1. Pool thread. */
int constrain_prepare(struct request *request, const struct engine *engine,
                      const Seekd__V1__Generate *generate);
