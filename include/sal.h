/*
 * sal.h - the SDK's source annotations, which say of parameters what a checker of Windows compilers
 * wants to know. They mean nothing to others.
 */
#ifndef PARTITA_SAL_H
#define PARTITA_SAL_H

#define _In_
#define _In_opt_
#define _In_z_
#define _In_opt_z_
#define _In_reads_(count)
#define _In_reads_opt_(count)
#define _In_reads_bytes_(bytes)
#define _In_reads_bytes_opt_(bytes)
#define _Inout_
#define _Inout_opt_
#define _Inout_updates_(count)
#define _Inout_updates_bytes_(bytes)
#define _Out_
#define _Out_opt_
#define _Outptr_
#define _Outptr_opt_
#define _Outptr_result_maybenull_
#define _Out_writes_(count)
#define _Out_writes_opt_(count)
#define _Out_writes_bytes_(bytes)
#define _Out_writes_bytes_opt_(bytes)
#define _Out_writes_bytes_to_(bytes, written)
#define _Out_writes_bytes_to_opt_(bytes, written)
#define _Out_writes_to_(count, written)
#define _Out_writes_z_(count)
#define _Pre_satisfies_(condition)
#define _Reserved_
#define _Ret_maybenull_
#define _Success_(condition)
#define _Use_decl_annotations_
#define _Check_return_
#define _Must_inspect_result_
#define _When_(condition, annotations)

#endif
