/* The kernel for one instruction set and one precision: compiled several times, with
 *   MLFF_NAMESPACE, MLFF_VARIANT (a string), MLFF_REAL, MLFF_IS_DOUBLE, MLFF_VECTOR_BYTES, MLFF_REGISTERS.
 * Everything is static within its own namespace and no standard container is used: a function that the linker could
 * merge between the compilations might run instructions that the processor lacks. */
#include "evaluate.h"

#define MLFF_JOIN_(a, b) a##b
#define MLFF_JOIN(a, b) MLFF_JOIN_(a, b)

extern const mlff::Variant MLFF_JOIN(mlff_variant_, MLFF_NAMESPACE);
const mlff::Variant MLFF_JOIN(mlff_variant_, MLFF_NAMESPACE) = {MLFF_VARIANT, MLFF_NAMESPACE::W,
                                                                MLFF_NAMESPACE::create_model,
                                                                MLFF_NAMESPACE::refresh_model,
                                                                MLFF_NAMESPACE::bound_model,
                                                                MLFF_NAMESPACE::destroy_model,
                                                                MLFF_NAMESPACE::needed_bytes,
                                                                MLFF_NAMESPACE::evaluate};
