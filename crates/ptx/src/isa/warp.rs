// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Forms of control flow, barriers, warp-wide and matrix instructions.
//! The notation is that of [`super`]. Source: PTX ISA manual, sections 9.7.12 to 9.7.19.

/// See [`super`].
pub(super) const FORMS: &str = "
bra .uni? : lbl
brx .idx .uni? : u32 lbl
call .uni? : *
ret .uni? :
exit :
trap :
brkpt :
nop :
pmevent .mask? : i
nanosleep T=u32 : T : 6.3 70
setmaxnreg O=inc,dec .sync .aligned T=u32 : i : 8.0 90
griddepcontrol O=launch_dependents,wait : : 7.8 90
bar .cta? .sync : u32 ?u32
bar .cta? .arrive : u32 u32
bar .cta? .red .popc T=u32 : =u32 u32 ?* ?p
bar .cta? .red O=and,or T=pred : =p u32 ?* ?p
bar .warp .sync : u32 : 6.0 30
barrier .cta? .sync .aligned? : u32 ?u32 : 6.0 30
barrier .cta? .arrive .aligned? : u32 u32 : 6.0 30
barrier .cta? .red .popc .aligned? T=u32 : =u32 u32 ?* ?p : 6.0 30
barrier .cta? .red O=and,or .aligned? T=pred : =p u32 ?* ?p : 6.0 30
barrier .cluster .arrive S?=release,relaxed .aligned? : : 7.8 90
barrier .cluster .wait .acquire? .aligned? : : 7.8 90
activemask T=b32 : =T : 6.2 30
elect .sync : =b32|p u32 : 8.0 90
shfl .sync M=up,down,bfly,idx T=b32 : =b32|p b32 b32 b32 b32 : 6.0 30
shfl M=up,down,bfly,idx T=b32 : =b32|p b32 b32 b32
vote .sync M=all,any,uni T=pred : =p p u32 : 6.0 30
vote .sync .ballot T=b32 : =b32 p u32 : 6.0 30
vote M=all,any,uni T=pred : =p p
vote .ballot T=b32 : =b32 p
match .any .sync T=b32,b64 : =b32 T u32 : 6.0 70
match .all .sync T=b32,b64 : =b32|p T u32 : 6.0 70
redux .sync O=add,min,max T=u32,s32 : =T T u32 : 7.0 80
redux .sync O=and,or,xor T=b32 : =T T u32 : 7.0 80
ldmatrix .sync .aligned .m8n8 N=x1,x2,x4 .trans? SP?=shared,shared::cta T=b16 : =* [] : 6.5 75
stmatrix .sync .aligned .m8n8 N=x1,x2,x4 .trans? SP?=shared,shared::cta T=b16 : [] * : 7.8 90
movmatrix .sync .aligned .m8n8 .trans T=b16 : =b32 b32 : 7.8 75
mma .sync .aligned S=m8n8k4 LA=row,col LB=row,col D=f16,f32 .f16 .f16 C=f16,f32 : =* * * * : 6.4 70
mma .sync .aligned S=m16n8k8,m16n8k16 .row .col D=f16,f32 A=f16 B=f16 C=f16,f32 : =* * * * : 6.5 75
mma .sync .aligned S=m16n8k8,m16n8k16 .row .col D=f32 A=bf16 B=bf16 C=f32 : =* * * * : 7.0 80
mma .sync .aligned S=m16n8k4,m16n8k8 .row .col D=f32 A=tf32 B=tf32 C=f32 : =* * * * : 7.0 80
mma .sync .aligned S=m16n8k16,m16n8k32 .row .col D=f16,f32 A=e4m3,e5m2 B=e4m3,e5m2 C=f16,f32 : =* * * * : 8.4 89
mma .sync .aligned S=m8n8k4,m16n8k4,m16n8k8,m16n8k16 .row .col D=f64 A=f64 B=f64 C=f64 : =* * * * : 7.0 80
mma .sync .aligned S=m8n8k16,m16n8k16,m16n8k32 .row .col .satfinite? D=s32 A=u8,s8 B=u8,s8 C=s32 : =* * * * : 6.5 75
mma .sync .aligned S=m8n8k32,m16n8k32,m16n8k64 .row .col .satfinite? D=s32 A=u4,s4 B=u4,s4 C=s32 : =* * * * : 6.5 75
mma .sync .aligned S=m8n8k128,m16n8k128,m16n8k256 .row .col D=s32 A=b1 B=b1 C=s32 O=xor,and .popc : =* * * * : 7.0 75
mma .sync .aligned S=m8n8k128,m16n8k128,m16n8k256 .row .col D=s32 A=b1 B=b1 C=s32 .popc : =* * * * : 7.0 75
wgmma .mma_async .sync .aligned S=$wg16 D=f16,f32 A=f16 B=f16 : =* * b64 p ?* ?* ?* ?* : 8.0 90a
wgmma .mma_async .sync .aligned S=$wg16 D=f32 A=bf16 B=bf16 : =* * b64 p ?* ?* ?* ?* : 8.0 90a
wgmma .mma_async .sync .aligned S=$wg8 D=f32 A=tf32 B=tf32 : =* * b64 p ?* ?* : 8.0 90a
wgmma .mma_async .sync .aligned S=$wg32 D=f16,f32 A=e4m3,e5m2 B=e4m3,e5m2 : =* * b64 p ?* ?* : 8.0 90a
wgmma .mma_async .sync .aligned S=$wg32 .satfinite? D=s32 A=u8,s8 B=u8,s8 : =* * b64 p : 8.0 90a
wgmma .mma_async .sync .aligned S=$wg32 D=s32 A=u8,s8 B=u8,s8 .satfinite : =* * b64 p : 8.0 90a
wgmma .fence .sync .aligned : : 8.0 90a
wgmma .commit_group .sync .aligned : : 8.0 90a
wgmma .wait_group .sync .aligned : i : 8.0 90a
";
