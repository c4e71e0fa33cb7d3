/* Counts the instructions that an AArch64 guest of qemu-user executes, by class, between marks.
 *
 * The guest sets a mark with prctl(MARK, operation, tag); between "begin" and "end" a record is also made at every
 * clock_gettime, which is how the runtime's own profiler shows where its kernels begin and end. Records go to the file
 * named by the argument out=, one line each: kind, tag, and one number per class in the order of enum class.
 *
 * Written against the documented interface of QEMU's TCG plugins (QEMU documentation, "QEMU TCG Plugins"); classes are
 * those of the encoding tables in the Arm Architecture Reference Manual, "A64 instruction set encoding". One guest
 * thread is assumed: counters are plain additions in the translated code.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define MARK 0x48435750u
#define SYS_PRCTL 167
#define SYS_CLOCK_GETTIME 113
enum operation { BEGIN = 1, END = 3 };
enum class {
    VECTOR_FMA, DOT_PRODUCT, INTEGER_MAC, OTHER_VECTOR, SCALAR_FLOAT, LOAD, STORE, BRANCH, OTHER, CLASSES
};

/* The part of the documented interface, version 1, that is used here. */
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { ADD_U64 = 0 };
typedef void (*translated_fn)(uint64_t id, struct qemu_plugin_tb *block);
typedef void (*syscall_fn)(uint64_t id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                           uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, translated_fn callback);
void qemu_plugin_register_vcpu_syscall_cb(uint64_t id, syscall_fn callback);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *block, int operation, void *counter, uint64_t by);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *instruction);

EXPORT int qemu_plugin_version = 1;

static uint64_t counters[CLASSES];
static int out = -1;
static int recording;
static unsigned marked_cpu;  /* the thread that set the mark: others may look at the clock too */
static char buffer[1 << 16];
static size_t filled;

static unsigned bits(uint32_t word, int high, int low)
{
    return (word >> low) & ((1u << (high - low + 1)) - 1);
}

/* Loads and stores: bits 27 and 25 are 1 and 0. */
static enum class of_memory(uint32_t w)
{
    int load = bits(w, 22, 22);
    if (bits(w, 29, 27) == 3 && bits(w, 25, 24) == 0) {
        return LOAD;                                  /* literal */
    }
    if (bits(w, 29, 27) == 7 && !bits(w, 26, 26)) {
        if (!bits(w, 24, 24) && bits(w, 21, 21) && !bits(w, 11, 10)) {
            return LOAD;                              /* atomic memory operation */
        }
        return bits(w, 23, 22) ? LOAD : STORE;        /* one general register */
    }
    return load ? LOAD : STORE;                       /* pairs, exclusives, vectors and structures of vectors */
}

/* Floating point on scalars: arithmetic and comparisons; moves, selections and conversions are no arithmetic. */
static enum class of_scalar_float(uint32_t w)
{
    if (bits(w, 24, 24)) {
        return SCALAR_FLOAT;                          /* fused multiply-add */
    }
    if (!bits(w, 21, 21)) {
        return OTHER;                                 /* conversion to and from fixed point */
    }
    if (bits(w, 11, 10) == 2 || bits(w, 13, 10) == 8) {
        return SCALAR_FLOAT;                          /* two sources; comparison */
    }
    if (bits(w, 14, 10) == 16) {                      /* one source: all but the move and the conversions */
        unsigned opcode = bits(w, 20, 15);
        return opcode == 0 || (opcode >= 4 && opcode <= 7) ? OTHER : SCALAR_FLOAT;
    }
    return OTHER;
}

static enum class of_vector_by_element(uint32_t w)
{
    unsigned opcode = bits(w, 15, 12), unsigned_bit = bits(w, 29, 29), size = bits(w, 23, 22);
    if (!unsigned_bit && (opcode == 1 || opcode == 5) && size != 1) {
        return VECTOR_FMA;
    }
    if (opcode == 14 || (opcode == 15 && !unsigned_bit)) {
        return DOT_PRODUCT;                           /* SDOT, UDOT; USDOT, SUDOT, BFDOT */
    }
    int same_width = unsigned_bit ? !(opcode & 11) : opcode == 8;
    if (opcode == 2 || opcode == 6 || opcode == 10 || same_width) {
        return INTEGER_MAC;                           /* SMLAL, SMLSL, SMULL, MUL, MLA, MLS and the unsigned ones */
    }
    return OTHER_VECTOR;
}

static enum class of_vector(uint32_t w)
{
    unsigned unsigned_bit = bits(w, 29, 29), opcode = bits(w, 15, 11);
    if (bits(w, 24, 24)) {
        return bits(w, 10, 10) ? OTHER_VECTOR : of_vector_by_element(w);
    }
    if (!bits(w, 21, 21)) {
        if (bits(w, 15, 15) && bits(w, 10, 10)) {     /* "three same, extra": dot products and matrix multiplies */
            unsigned extra = bits(w, 14, 11);
            return extra >= 2 && extra <= 5 ? DOT_PRODUCT : OTHER_VECTOR;
        }
        if (bits(w, 22, 22) && !bits(w, 15, 14) && bits(w, 10, 10) && !unsigned_bit && bits(w, 13, 11) == 1) {
            return VECTOR_FMA;                        /* half precision */
        }
        return OTHER_VECTOR;
    }
    if (bits(w, 10, 10)) {                            /* three same */
        if (opcode == 25 && !unsigned_bit) {
            return VECTOR_FMA;
        }
        return opcode == 18 || (opcode == 19 && !unsigned_bit) ? INTEGER_MAC : OTHER_VECTOR;
    }
    if (bits(w, 11, 10) == 0) {                       /* three different: long multiplications */
        unsigned longer = bits(w, 15, 12);
        return longer == 8 || longer == 10 || longer == 12 ? INTEGER_MAC : OTHER_VECTOR;
    }
    return OTHER_VECTOR;
}

static enum class classify(uint32_t w)
{
    if (bits(w, 27, 27) && !bits(w, 25, 25)) {
        return of_memory(w);
    }
    if (bits(w, 28, 26) == 5) {
        return bits(w, 31, 24) == 0xd5 ? OTHER : BRANCH;   /* 0xd5: hints, barriers, system registers */
    }
    if (bits(w, 27, 25) != 7) {
        return OTHER;
    }
    if (bits(w, 28, 28)) {
        if (!bits(w, 30, 30)) {
            return of_scalar_float(w);
        }
        /* vector instructions on one element: a multiplication by an element is scalar arithmetic */
        unsigned opcode = bits(w, 15, 12);
        int multiplies = bits(w, 24, 24) && !bits(w, 10, 10) && (opcode == 1 || opcode == 5 || opcode == 9);
        return multiplies ? SCALAR_FLOAT : OTHER_VECTOR;
    }
    return bits(w, 31, 31) ? OTHER : of_vector(w);
}

static void on_translation(uint64_t id, struct qemu_plugin_tb *block)
{
    uint64_t counts[CLASSES] = {0};
    size_t length = qemu_plugin_tb_n_insns(block);
    (void)id;
    for (size_t i = 0; i < length; i++) {
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, i)), sizeof word);
        counts[classify(word)]++;
    }
    for (int c = 0; c < CLASSES; c++) {
        if (counts[c] != 0) {
            qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &counters[c], counts[c]);
        }
    }
}

static void flush(void)
{
    for (size_t done = 0; done < filled;) {
        ssize_t written = write(out, buffer + done, filled - done);
        if (written < 0) {
            perror("hwcomp: instruction counts cannot be written");
            exit(74);
        }
        done += (size_t)written;
    }
    filled = 0;
}

static void record(char kind, uint64_t tag)
{
    if (filled > sizeof buffer - 512) {
        flush();
    }
    filled += (size_t)sprintf(buffer + filled, "%c %" PRIu64, kind, tag);
    for (int c = 0; c < CLASSES; c++) {
        filled += (size_t)sprintf(buffer + filled, " %" PRIu64, counters[c]);
    }
    buffer[filled++] = '\n';
}

static void on_syscall(uint64_t id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
                       uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)cpu, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number == SYS_CLOCK_GETTIME) {
        if (recording && cpu == marked_cpu) {
            record('c', 0);
        }
        return;
    }
    if (number != SYS_PRCTL || (uint32_t)a1 != MARK) {
        return;
    }
    if (a2 == BEGIN) {
        marked_cpu = cpu;
    }
    recording = a2 == BEGIN;
    record(a2 == BEGIN ? 'b' : 'e', a3);
    if (a2 == END) {
        flush();
    }
}

EXPORT int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "out=", 4)) {
            out = open(argv[i] + 4, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        }
    }
    if (out < 0) {
        fputs("hwcomp: the file of instruction counts (out=) cannot be opened\n", stderr);
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    return 0;
}
