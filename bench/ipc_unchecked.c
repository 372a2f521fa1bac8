#include "bench/ipc_unchecked.h"

#define RING_CHECKS   0
#define RING_FN(name) unchecked_##name
#include "proto/ring_impl.h"
