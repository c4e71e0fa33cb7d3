/* Which inner loop serves a block and a tile. */
#include "microkernels.h"

#include <stddef.h>

#if HWCOMP_LANES == 16 || defined(__aarch64__)
enum { REGISTERS = 32 };
#else
enum { REGISTERS = 16 };
#endif

/* Sums of a tile stay in registers, beside one vector that is read and one broadcast weight. */
#define HELD(R) ((REGISTERS - 2) / (R))
#define MOST(R) (HELD(R) < 1 ? 1 : HELD(R) > MAX_VECTORS ? MAX_VECTORS : HELD(R))

int64_t most_vectors(int64_t rows) { return MOST(rows); }

tile_kernel *tile_kernel_of(int64_t rows, int64_t vectors, int add)
{
#define HWCOMP_CASE(R, V) \
    if (V <= MOST(R) && rows == R && vectors == V) \
        return add ? hwcomp_tile_r##R##_v##V##_add : hwcomp_tile_r##R##_v##V;
    HWCOMP_FOR_TILES(HWCOMP_CASE)
    return NULL;
}
