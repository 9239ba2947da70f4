/**
 * The table that the handler of SIGBUS reads, and that JavaScript writes: a head and entries of the same size, as words
 * of 64 bits. The head is what the kernel takes for a `struct sigaction`, and says what was installed before.
 *
 *     head    | previous handler | 0 (flags)       | 0 (restorer)                | 0 (mask)
 *     entry n | begin            | end             | lost (u32), taken (u32)     | unused
 *
 * A free entry has begin 0 and end 0.
 */
export const sigbusTable = {
  /** It begins where the page of the code ends. */
  codeBytes: 4096,
  tableBytes: 131_072,
  entryBytes: 32,
  /** Offsets in an entry. */
  begin: 0,
  end: 8,
  lost: 16,
  taken: 20,
} as const;

/** An instruction of x86-64: offset, bytes, assembly as `objdump -M intel` writes it, and what it is for. */
export type Instruction = readonly [offset: number, bytes: string, assembly: string, meaning: string];

/**
 * The handler: `void handler(int signal, siginfo_t *info, void *context)`, in rdi, rsi and rdx. It uses no stack, calls
 * nothing but the kernel, and needs to keep no register: all come back when a handler returns.
 *
 * All of the mapping is replaced at once, and not only the page: a page could be part of a huge one that cannot be cut,
 * and thousands of pages lost one by one would be too many mappings. And so no store after the first lost one reaches
 * the file: what is left in it is what a kill at that moment would have left.
 */
export const sigbusHandler: readonly Instruction[] = [
  [0x00, "83 7e 08 02", "cmp dword ptr [rsi+0x8],0x2", "si_code: up to 0 somebody sent it, 1 is misalignment;"],
  [0x04, "7c 26", "jl 2c", "neither is about a mapping"],
  [0x06, "48 8b 46 10", "mov rax,qword ptr [rsi+0x10]", "si_addr: the address that cannot be reached"],
  [0x0a, "4c 8d 05 0f 10 00 00", "lea r8,[rip+0x100f]", "the first entry of the table, at 0x1020"],
  [0x11, "4c 8d 0d e8 0f 02 00", "lea r9,[rip+0x20fe8]", "the end of the table, at 0x21000"],
  // Is it in the range of this entry?
  [0x18, "49 3b 00", "cmp rax,qword ptr [r8]", "below its begin:"],
  [0x1b, "72 06", "jb 23", "no"],
  [0x1d, "49 3b 40 08", "cmp rax,qword ptr [r8+0x8]", "below its end, which is never so in a free entry:"],
  [0x21, "72 18", "jb 3b", "yes"],
  [0x23, "49 83 c0 20", "add r8,0x20", "the next entry"],
  [0x27, "4d 39 c8", "cmp r8,r9", "if there is one"],
  [0x2a, "72 ec", "jb 18", ""],
  // Not ours: whoever was there before us.
  [0x2c, "48 8b 05 cd 0f 00 00", "mov rax,qword ptr [rip+0xfcd]", "the previous handler, at 0x1000:"],
  [0x33, "48 83 f8 01", "cmp rax,0x1", "0 is SIG_DFL, 1 is SIG_IGN,"],
  [0x37, "76 48", "jbe 81", "and neither can be called"],
  [0x39, "ff e0", "jmp rax", "with the three arguments that came, it returns for us"],
  // Ours: zeroes in place of the mapping.
  [0x3b, "41 c7 40 10 01 00 00 00", "mov dword ptr [r8+0x10],0x1", "lost: said before any thread can read a zero"],
  [0x43, "49 89 fc", "mov r12,rdi", "kept for the previous handler, should this fail"],
  [0x46, "49 89 f5", "mov r13,rsi", ""],
  [0x49, "49 89 d6", "mov r14,rdx", ""],
  [0x4c, "49 8b 38", "mov rdi,qword ptr [r8]", "mmap(begin,"],
  [0x4f, "49 8b 70 08", "mov rsi,qword ptr [r8+0x8]", "  end"],
  [0x53, "48 29 fe", "sub rsi,rdi", "  - begin,"],
  [0x56, "ba 03 00 00 00", "mov edx,0x3", "  PROT_READ | PROT_WRITE,"],
  [0x5b, "41 ba 32 40 00 00", "mov r10d,0x4032", "  MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE,"],
  [0x61, "49 83 c8 ff", "or r8,0xffffffffffffffff", "  no file,"],
  [0x65, "45 31 c9", "xor r9d,r9d", "  0)"],
  [0x68, "b8 09 00 00 00", "mov eax,0x9", ""],
  [0x6d, "0f 05", "syscall", "answers with the address, or with an error:"],
  [0x6f, "48 89 f9", "mov rcx,rdi", ""],
  [0x72, "4c 89 e7", "mov rdi,r12", ""],
  [0x75, "4c 89 ee", "mov rsi,r13", ""],
  [0x78, "4c 89 f2", "mov rdx,r14", ""],
  [0x7b, "48 39 c8", "cmp rax,rcx", ""],
  [0x7e, "75 ac", "jne 2c", "there is no memory for it, so the signal takes its course"],
  [0x80, "c3", "ret", "the kernel lets the thread try its instruction again"],
  // Nobody to call: what was there is put back, and the signal is sent once more, as it was.
  [0x81, "49 89 f5", "mov r13,rsi", ""],
  [0x84, "bf 07 00 00 00", "mov edi,0x7", "rt_sigaction(SIGBUS,"],
  [0x89, "48 8d 35 70 0f 00 00", "lea rsi,[rip+0xf70]", "  the head of the table, at 0x1000,"],
  [0x90, "31 d2", "xor edx,edx", "  NULL,"],
  [0x92, "41 ba 08 00 00 00", "mov r10d,0x8", "  the bytes of a signal mask)"],
  [0x98, "b8 0d 00 00 00", "mov eax,0xd", ""],
  [0x9d, "0f 05", "syscall", ""],
  [0x9f, "b8 27 00 00 00", "mov eax,0x27", "getpid()"],
  [0xa4, "0f 05", "syscall", ""],
  [0xa6, "41 89 c4", "mov r12d,eax", ""],
  [0xa9, "b8 ba 00 00 00", "mov eax,0xba", "gettid()"],
  [0xae, "0f 05", "syscall", ""],
  [0xb0, "44 89 e7", "mov edi,r12d", "rt_tgsigqueueinfo(process,"],
  [0xb3, "89 c6", "mov esi,eax", "  thread,"],
  [0xb5, "ba 07 00 00 00", "mov edx,0x7", "  SIGBUS,"],
  [0xba, "4d 89 ea", "mov r10,r13", "  info)"],
  [0xbd, "b8 29 01 00 00", "mov eax,0x129", ""],
  [0xc2, "0f 05", "syscall", "it waits until this handler returns"],
  [0xc4, "c3", "ret", ""],
];

/** The handler as the processor reads it. */
export function sigbusHandlerCode(): Buffer {
  return Buffer.from(sigbusHandler.map(([, bytes]) => bytes.replaceAll(" ", "")).join(""), "hex");
}
